"""The separate programs of the tool family; nothing imports them."""
