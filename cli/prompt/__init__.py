"""Clients of the command socket: one command, a prompt, a script."""
