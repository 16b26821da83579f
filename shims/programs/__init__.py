"""Programs of users and of ours: started, joined, watched, found again, ended."""
