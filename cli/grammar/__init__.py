"""The command language without its commands: words, patterns, matching, completion. Pure; knows no bus."""
