"""Messages of rtnetlink(7), and the socket that they go over."""
