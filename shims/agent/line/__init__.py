"""The line to the server: where it may be, what goes over it, and what survives its end."""
