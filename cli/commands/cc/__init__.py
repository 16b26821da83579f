"""Command and control of guests."""
