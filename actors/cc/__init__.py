"""Command and control of guests: the server that their agents connect to."""
