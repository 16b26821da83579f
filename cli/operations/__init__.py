"""Subcommands for who runs a host: start, end, restart, look it over, keys; and minimega's daemon."""
