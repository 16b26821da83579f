"""The processes of one base directory: how each of them lives, and the node that starts, watches and restarts them."""
