"""Pipes, and pipelines of pipes and programs."""
