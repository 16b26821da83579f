"""What a host can do, what it cannot and why, how many guests fit, and what raises that."""
