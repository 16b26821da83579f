"""The broker: requests by address, events by topic."""
