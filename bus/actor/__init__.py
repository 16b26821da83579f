"""The base of every actor: asks and answers, a pure step behind a journal, and what a process tells about itself."""
