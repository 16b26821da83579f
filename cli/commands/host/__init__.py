"""The host: its load, files, programs and logs, and the node that runs on it."""
