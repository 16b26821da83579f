"""The guest's file systems, served to the host's kernel; loaded when the first mount is asked for."""
