"""The warden, which owns every container of a host, and what runs inside their new namespaces."""
