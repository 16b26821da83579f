"""The container shim: turns what the `vm` actor asks into calls of the warden, and keeps the consoles."""
