"""The supervisor of every VM on this host."""
