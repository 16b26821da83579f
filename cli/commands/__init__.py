"""The commands, declared as data: one module a domain."""
