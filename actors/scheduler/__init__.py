"""Placement of VMs over hosts."""
