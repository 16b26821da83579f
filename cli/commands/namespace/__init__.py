"""Namespaces, their hosts and queues."""
