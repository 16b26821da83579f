"""The way back from a word to what must be typed. Imports nothing: one-shot commands need it before all else."""

from __future__ import annotations

BLANKS = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space property; Python's `\\s` has four control characters more, which are data here."""
SPECIAL = "\"'\\#"
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "#": "#"}
"""What may follow a backslash, and what it stands for."""
DOLLAR = "$"
"""May follow a backslash too: then it is no variable's."""

_ESCAPED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_NEEDS_QUOTES = frozenset(BLANKS + SPECIAL)


def quote(word: str) -> str:
    """The word as it must be typed to be read as this one word."""
    literal = getattr(word, "literal", ())  # see lexer.Word; one-shot commands have plain strings
    if word and not literal and _NEEDS_QUOTES.isdisjoint(word):
        return word
    escaped = (r"\$" if at in literal else _ESCAPED.get(char, char) for at, char in enumerate(word))
    return '"' + "".join(escaped) + '"'


def command_line(words: list[str]) -> str:
    """The words of a command as a line; a single word is taken as a whole line already."""
    return words[0] if len(words) == 1 else " ".join(map(quote, words))
