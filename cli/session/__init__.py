"""What belongs to one client of the command socket: settings, variables, what it may run."""
