"""HTTP: downloads, and a small server."""
