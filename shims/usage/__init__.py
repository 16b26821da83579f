"""How busy the host and its containers are."""
