"""The networks of guests: everything that touches links, addresses and packets in the kernel."""
