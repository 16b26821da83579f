"""Pipes and pipelines."""
