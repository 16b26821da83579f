"""The client library, and the client's side of streams: events, pipes, consoles, command lines."""
