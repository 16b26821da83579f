"""What a user may have meant by input that matches nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from cli.grammar.pattern import Pattern

MAX_SUGGESTIONS = 4
MAX_COMPARED = 32
"""Characters of a word that are compared; no command word is longer."""


class Attempt(NamedTuple):
    """A pattern that did not match, and how far it came."""

    pattern: Pattern
    position: int
    """Index of the word that did not fit; the number of words if some are missing."""
    start: int = 0
    """Index of the first word of the command, which is not 0 inside another command."""


def nearest_patterns(patterns: Sequence[Pattern], attempts: Sequence[Attempt], words: Sequence[str]) -> tuple[str, ...]:
    """Usage lines of the patterns that come closest, best first; none if nothing is close, or far too many are."""
    if not words:
        return ()
    reached, furthest = _furthest(attempts)
    if reached >= len(words):
        return _few([attempt.pattern for attempt in furthest])
    if reached == 0 or any(attempt.start == reached for attempt in furthest):
        return _by_first_word(patterns, words[reached])
    return _by_next_word(furthest, words[reached])


def _by_first_word(patterns: Sequence[Pattern], word: str) -> tuple[str, ...]:
    """Those whose first word is similar, or the second: `start` stands for `vm start`."""
    places: dict[str, list[tuple[bool, Pattern]]] = {}
    for pattern in patterns:
        for number, item in enumerate(pattern.items[:2]):
            for literal in item.words if number == 0 or item.is_literal else ():
                places.setdefault(literal, []).append((number > 0, pattern))
    short = word[:MAX_COMPARED]
    close = [short] if short in places else difflib.get_close_matches(short, places, n=2, cutoff=0.6)
    return _usages([pattern for literal in close for _, pattern in sorted(places[literal], key=itemgetter(0))])


def _by_next_word(furthest: Sequence[Attempt], word: str) -> tuple[str, ...]:
    """Those with a similar word in that place, else all that came as far."""
    expected: dict[str, list[Pattern]] = {}
    for attempt in furthest:
        index = attempt.position - attempt.start
        options = attempt.pattern.items[index].words if index < len(attempt.pattern.items) else ()
        for option in options:
            expected.setdefault(option, []).append(attempt.pattern)
    close = difflib.get_close_matches(word[:MAX_COMPARED], expected, n=2, cutoff=0.6)
    if close:
        return _usages([pattern for option in close for pattern in expected[option]])
    return _few([attempt.pattern for attempt in furthest])


def unknown_word(attempts: Sequence[Attempt], words: Sequence[str]) -> str:
    """The word that was read as the first of a command inside another, where none begins like that; else empty."""
    reached, furthest = _furthest(attempts)
    inside = 0 < reached < len(words) and any(attempt.start == reached for attempt in furthest)
    return words[reached] if inside else ""


def understood(attempts: Sequence[Attempt], words: Sequence[str]) -> tuple[str, ...]:
    """The words, of the innermost command, that were good so far."""
    reached, furthest = _furthest(attempts)
    return tuple(words[max((attempt.start for attempt in furthest), default=0) : reached])


def _furthest(attempts: Sequence[Attempt]) -> tuple[int, list[Attempt]]:
    reached = max((attempt.position for attempt in attempts), default=0)
    return reached, [attempt for attempt in attempts if attempt.position == reached]


def _few(patterns: Sequence[Pattern]) -> tuple[str, ...]:
    """Those that are left, unless they are so many that the first few tell nothing."""
    found = dict.fromkeys(pattern.usage for pattern in patterns)
    return tuple(found) if len(found) <= MAX_SUGGESTIONS else ()


def _usages(patterns: Sequence[Pattern]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pattern.usage for pattern in patterns))[:MAX_SUGGESTIONS]
