"""The server of the command language: an actor that listens on the command socket."""
