"""Texts of the command language that actors and the command line both read and print."""
