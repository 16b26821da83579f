"""The owner of the file area."""
