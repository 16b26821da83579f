"""Actors: one folder each, started by the node or by hand; nothing imports them."""
