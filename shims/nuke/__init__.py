"""Giving up on a base directory, and what it has left on the host."""
