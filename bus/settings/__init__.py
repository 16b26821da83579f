"""The settings of a start: flags, variables, the configuration file."""
