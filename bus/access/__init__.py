"""Who may do what: keys and their rights, and the group of this host."""
