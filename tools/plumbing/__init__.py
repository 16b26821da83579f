"""Small programs for vias and pipelines, in the manner of minimega's: line by line from stdin to stdout."""
