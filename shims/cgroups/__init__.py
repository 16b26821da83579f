"""The cgroups of containers, in version 1 and 2, and what guests may take of the host."""
