"""Splits an input line into words: quotes, escapes, comments. Remembers which dollar signs were escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cli.grammar.errors import LexError
from cli.grammar.quoting import BLANKS, DOLLAR, ESCAPES, SPECIAL

MAX_LINE = 1_048_576
"""Characters of one input line."""
MAX_WORDS = 20_000
"""Words of one input line; with the line limit it bounds what a command can cost before it runs."""

_BLANK = re.compile(f"[{BLANKS}]+")
_PLAIN = re.compile(f"[^{BLANKS}{re.escape(SPECIAL)}]+")
_QUOTED = {'"': re.compile(r'[^"\\]+'), "'": re.compile(r"[^'\\]+")}


class Word(str):
    """A word with dollar signs that were escaped: a string like any other, until variables are replaced in it."""

    __slots__ = ("literal",)
    literal: frozenset[int]
    """Where they are."""


_LITERAL_DOLLAR = Word(DOLLAR)  # told from a typed `$` by its identity


class Line(NamedTuple):
    """The words of an input line. No words and `comment` is a comment line, no words and no comment a blank one."""

    words: tuple[str, ...]
    comment: bool = False


def lex(text: str) -> Line:
    """Split into words; raises LexError with the reason."""
    if len(text) > MAX_LINE:
        raise LexError(f"command is longer than {MAX_LINE} characters")
    words: list[str] = []
    pieces: list[str] | None = None
    comment = False
    position = 0
    while position < len(text):
        char = text[position]
        if blank := _BLANK.match(text, position):
            _end_word(words, pieces)
            pieces = None
            position = blank.end()
        elif char == "#":
            _end_word(words, pieces)
            pieces = None
            comment = True
            end_of_line = text.find("\n", position)
            position = end_of_line if end_of_line >= 0 else len(text)
        else:
            pieces = [] if pieces is None else pieces
            position = _piece(text, position, pieces)
    _end_word(words, pieces)
    return Line(tuple(words), comment)


def _end_word(words: list[str], pieces: list[str] | None) -> None:
    if pieces is None:
        return
    if len(words) == MAX_WORDS:
        raise LexError(f"command has more than {MAX_WORDS} words")
    words.append("".join(pieces) if len(pieces) == 1 else _joined(pieces))


def _joined(pieces: list[str]) -> str:
    literal: list[int] = []
    length = 0
    for piece in pieces:
        if piece is _LITERAL_DOLLAR:
            literal.append(length)
        length += len(piece)
    word = "".join(pieces)
    return with_literal(word, literal) if literal else word


def with_literal(word: str, positions: Iterable[int]) -> Word:
    """The word, with the dollar signs at these positions meant as they are."""
    marked = Word(word)
    marked.literal = frozenset(positions)
    return marked


def _piece(text: str, position: int, pieces: list[str]) -> int:
    """Add one quoted, escaped or plain piece of a word; gives the position after it."""
    char = text[position]
    if char in _QUOTED:
        return _quoted(text, position + 1, char, pieces)
    if char == "\\":
        return _escape(text, position, pieces)
    plain = _PLAIN.match(text, position)
    if plain is None:  # cannot be: every other character starts a case above
        raise LexError(f"unexpected character: {char}")
    pieces.append(plain.group())
    return plain.end()


def _quoted(text: str, position: int, quote: str, pieces: list[str]) -> int:
    run = _QUOTED[quote]
    while position < len(text):
        char = text[position]
        if char == quote:
            return position + 1
        if char == "\\":
            position = _escape(text, position, pieces)
        elif found := run.match(text, position):
            pieces.append(found.group())
            position = found.end()
    raise LexError(f"missing terminal {quote}")


def _escape(text: str, position: int, pieces: list[str]) -> int:
    char = text[position + 1 : position + 2]
    if not char:
        raise LexError("expected escape character")
    if char == DOLLAR:
        pieces.extend((_LITERAL_DOLLAR, ""))  # never a piece alone: words of one piece are taken as they are
    elif char in ESCAPES:
        pieces.append(ESCAPES[char])
    else:
        raise LexError(f"unexpected escaped character: {char}")
    return position + 2
