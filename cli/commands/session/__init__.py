"""The client's own session: how answers look, aliases and variables, scripts."""
