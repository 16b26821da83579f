"""Files that others name, write or read: nothing here follows a link out of its directory."""
