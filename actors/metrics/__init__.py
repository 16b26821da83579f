"""The optional endpoint for Prometheus: figures of this host, of the processes of its node, and of its VMs."""
