"""What guests are made of: a small root file system, and the agent as one static program."""
