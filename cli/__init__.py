"""The command language: grammar, commands, rendering, the server actor, and the executable. A client of the bus."""
