"""What commands answer, and how it becomes text."""
