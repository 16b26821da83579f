"""Lines to agents, a session on each, and what goes through it."""
