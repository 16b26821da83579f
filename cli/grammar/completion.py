"""What may come next in a line that is still being typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from cli.grammar.errors import LanguageError
from cli.grammar.lexer import lex
from cli.grammar.matcher import MAX_NESTING, NO_ALIASES, Grammar, expand
from cli.grammar.pattern import Item, Pattern
from cli.grammar.quoting import BLANKS, quote

T = TypeVar("T")


class Wanted(NamedTuple, Generic[T]):
    """What a cursor position accepts."""

    head: str
    """The input up to the word that is being typed."""
    partial: str
    """What is typed of that word."""
    words: tuple[str, ...]
    """Literals and options that fit, sorted."""
    values: tuple[tuple[T, str], ...]
    """Owners and keys of the strings that may stand here."""
    given: tuple[str, ...] = ()
    """Words that a list has already, if the next one belongs to it."""
    around: tuple[tuple[T, str, str], ...] = ()
    """Owner, key and value of the strings of all commands that this one is nested in, the outermost first."""


def wanted(grammar: Grammar[T], text: str, aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES) -> Wanted[T]:
    """Read the beginning of a line; a line with a lexing error or a comment accepts nothing."""
    try:
        line = lex(text)
        typing = bool(line.words) and text[-1] not in BLANKS
        typed, partial = (line.words[:-1], line.words[-1]) if typing else (line.words, "")
        done, _ = expand(typed, 0, (frozenset(),) * len(typed), aliases)
    except LanguageError:
        return Wanted(text, "", (), ())
    if line.comment:
        return Wanted(text, "", (), ())
    words: set[str] = set()
    values: dict[tuple[T, str], None] = {}
    if not typed:
        words.update(alias for alias in aliases if alias.startswith(partial))
    given: tuple[str, ...] = ()
    around: list[tuple[T, str, str]] = []
    for owner, item, listed in _next_items(grammar, done, 0, around):
        words.update(word for word in item.words if word.startswith(partial))
        given = given or listed
        if item.key:
            values[owner, item.key] = None
    return Wanted(_head(text, typing), partial, tuple(sorted(words)), tuple(values), given, tuple(around))


def lines(head: str, suggestions: Sequence[str]) -> list[str]:
    """Complete replacement lines, sorted: a blank follows each word, none a directory that needs no quotes."""
    return sorted({head + _followed(quote(word)) for word in suggestions})


def _followed(typed: str) -> str:
    """An open quote could not be completed further, so a directory in quotes is a word like any other."""
    return typed if typed.endswith("/") else f"{typed} "


def _head(text: str, typing: bool) -> str:
    return text[: max(map(text.rfind, BLANKS)) + 1] if typing else text


def _next_items(
    grammar: Grammar[T], done: tuple[str, ...], depth: int, around: list[tuple[T, str, str]]
) -> Iterator[tuple[T, Item, tuple[str, ...]]]:
    """The items of all patterns that may follow these words, with what a list has of them.

    Adds the strings of the commands in between to `around`.
    """
    candidates = grammar.starting_with(done[0][:1]) if done else grammar.entries
    nested: set[int] = set()
    for entry in candidates:
        index = _walk(entry.pattern, done)
        if index is None:
            continue
        item = entry.pattern.items[index]
        if item.is_nested:
            nested.add(index)
            before = zip(entry.pattern.items, done[:index], strict=False)
            around.extend((entry.owner, outer.key, word) for outer, word in before if outer.key)
        else:
            yield entry.owner, item, done[index:]
    for start in sorted(nested):  # every pattern that nests here nests the same words: look once
        if depth < MAX_NESTING:
            yield from _next_items(grammar, done[start:], depth + 1, around)


def _walk(pattern: Pattern, done: tuple[str, ...]) -> int | None:
    """Index of the item that the next word belongs to; None if the words do not fit or fill the pattern."""
    for position, word in enumerate(done):
        item = pattern.items[position] if position < len(pattern.items) else None
        if item is None:
            return None
        if item.is_nested or item.is_list:
            return position
        if item.words and not any(word and option.startswith(word) for option in item.words):
            return None
    return len(done) if len(done) < len(pattern.items) else None
