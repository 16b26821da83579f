"""What belongs to one client of the command socket: settings and variables."""
