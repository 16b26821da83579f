"""What can be wrong with an input line."""

from __future__ import annotations


class LanguageError(ValueError):
    """The input is not a command. `str()` is one sentence for the user."""


class LexError(LanguageError):
    """The input cannot be split into words."""


class UnknownCommandError(LanguageError):
    """No pattern matches; `nearest` are the patterns that come closest, as usage lines."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class AmbiguousCommandError(LanguageError):
    """Several patterns match equally well; `candidates` are their usage lines."""

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates
