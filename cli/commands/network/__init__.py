"""Networks: VLANs, what is plugged into them, what happens to the traffic."""
