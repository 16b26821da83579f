"""The way into the bus for clients on other hosts, over TCP, with keys."""
