"""VMs: their configuration, life and interfaces."""
