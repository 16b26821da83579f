"""Programs that users run on the host, and what the host lacks."""
