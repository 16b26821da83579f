"""Subcommands that look at a running bus: its processes, their inputs, topics, requests and what they led to."""
