"""What requests, agents and VMs change in the table. Pure."""
