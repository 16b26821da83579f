"""Subcommands that copy bytes for as long as they live: pipes and consoles on stdin, stdout and a terminal."""
