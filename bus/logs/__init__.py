"""Structured logs: records, their looks, where they go, and who owns the settings."""
