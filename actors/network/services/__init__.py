"""What guests ask for addresses and names, and what the host asks: servers of dnsmasq, leases."""
