"""Namespaces: drafts of vm config, names, launch queues."""
