"""What is plugged into segments, and what is taken out of them. Pure."""
