"""Finds the command that the words of a line mean.

Every literal and option may be abbreviated. Word by word, one spelled out beats a free string, that an abbreviation;
an abbreviation of several is ambiguous and never guessed. Nested commands are matched as words: nothing is quoted and
read again. An alias replaces the first word of a command, nested or not, and never a word that came out of itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from cli.grammar.errors import AmbiguousCommandError, LanguageError, UnknownCommandError
from cli.grammar.lexer import MAX_WORDS
from cli.grammar.nearest import Attempt, nearest_patterns, understood, unknown_word
from cli.grammar.pattern import Item, Pattern, parse_pattern
from cli.grammar.quoting import quote

MAX_NESTING = 100
"""Commands inside commands; deeper input is refused."""
SHOWN_INPUT = 200
"""Characters of a refused input that its error repeats."""
SHOWN_CANDIDATES = 6
INDEXED_WORDS = 3
"""Words whose initials choose the patterns that are tried."""
REMEMBERED_INITIALS = 1024
NO_ALIASES: Mapping[str, tuple[str, ...]] = {}

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """A pattern and whom it belongs to."""

    pattern: Pattern
    owner: T


class Rank(IntEnum):
    """How well a word fits; smaller is better."""

    EXACT = 0
    STRING = 1
    ABBREVIATED = 2


class Taken(NamedTuple):
    """A word as an item understood it."""

    rank: Rank
    meaning: str = ""
    """The literal or option; empty for strings."""


@dataclass(slots=True)
class Match(Generic[T]):
    """A parsed command."""

    owner: T
    pattern: Pattern
    values: dict[str, str | bool | tuple[str, ...]] = field(default_factory=dict)
    """Key to string or list, chosen option to True; what was not given is not there."""
    nested: Match[T] | None = None
    words: tuple[str, ...] = ()
    """All words of it, nested ones included, after the aliases have been replaced."""
    taken: tuple[Taken, ...] = ()
    """How each word of its own was understood."""

    def chain(self) -> Iterator[Match[T]]:
        """Itself, the command inside it, the one inside that, and so on."""
        current: Match[T] | None = self
        while current is not None:
            yield current
            current = current.nested


class Grammar(Generic[T]):
    """A set of patterns; immutable."""

    def __init__(self, declarations: Iterable[tuple[str, T]]) -> None:
        self.entries: tuple[Entry[T], ...] = tuple(Entry(parse_pattern(text), owner) for text, owner in declarations)
        self._by_initial: dict[str, list[Entry[T]]] = {}
        for entry in self.entries:
            for initial in {word[0] for word in entry.pattern.items[0].words}:
                self._by_initial.setdefault(initial, []).append(entry)
        self.fitting = functools.lru_cache(maxsize=REMEMBERED_INITIALS)(self._fitting)
        """The entries that words with these initials may match, in declared order."""

    def starting_with(self, initial: str) -> Sequence[Entry[T]]:
        """The entries whose first word may start with this character, in declared order."""
        return self._by_initial.get(initial, ())

    def _fitting(self, initials: tuple[str, ...]) -> tuple[Entry[T], ...]:
        entries = self.starting_with(initials[0]) if initials else ()
        return tuple(entry for entry in entries if _may_fit(entry.pattern, initials))

    def parse(
        self, words: Sequence[str], text: str | None = None, aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES
    ) -> Match[T]:
        """The one command that the words mean; `text` is the input as errors show it, unless an alias changes it.

        Raises UnknownCommandError or AmbiguousCommandError; LanguageError if it becomes too long or too deep.
        """
        given = tuple(words)
        words, origins = expand(given, 0, (frozenset(),) * len(given), aliases) if aliases else (given, ())
        shown = text.strip() if text is not None and words == given else " ".join(words)
        result = _Parse(self, words, origins, aliases).best(0, 0)
        match result:
            case Match():
                return result
            case _Miss(attempts=attempts):
                raise _unknown(self, shown, attempts, words)
            case _Tie(candidates=candidates):
                raise _ambiguous(shown, candidates)


def _may_fit(pattern: Pattern, initials: tuple[str, ...]) -> bool:
    """Whether words that begin so can be the first ones of a pattern, as far as their initials tell."""
    for item, initial in zip(pattern.items, initials, strict=False):
        if item.is_nested or item.is_list:
            return True
        if item.words and not any(word[0] == initial for word in item.words):
            return False
    return True


class _Miss(NamedTuple):
    """Nothing matches; these patterns came furthest."""

    attempts: tuple[Attempt, ...]


class _Tie(NamedTuple):
    """Several things match."""

    candidates: tuple[str, ...]


Origins = tuple[frozenset[str], ...]
"""For each word the aliases that it came out of."""


def expand(
    words: tuple[str, ...], start: int, origins: Origins, aliases: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], Origins]:
    """Replace the word at `start` if it is an alias that it did not come from. Raises LanguageError if that is long."""
    if start >= len(words) or words[start] not in aliases or words[start] in origins[start]:
        return words, origins
    replacement = aliases[words[start]]
    if len(words) + len(replacement) > MAX_WORDS:
        raise LanguageError(f"alias `{_short(words[start])}` makes the command longer than {MAX_WORDS} words")
    origin = origins[start] | {words[start]}
    return (
        (*words[:start], *replacement, *words[start + 1 :]),
        (*origins[:start], *(origin for _ in replacement), *origins[start + 1 :]),
    )


class _Parse(Generic[T]):
    """One parse. Results are kept per start of a nested command, so the work is linear in the depth."""

    def __init__(
        self, grammar: Grammar[T], words: tuple[str, ...], origins: Origins, aliases: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._grammar = grammar
        self._words = words
        self._origins = origins
        self._aliases = aliases
        self._known: dict[int, Match[T] | _Miss | _Tie] = {}

    def command(self, start: int, depth: int) -> Match[T] | _Miss | _Tie:
        """The command that begins at a word; raises LanguageError if commands are nested too deep."""
        if depth > MAX_NESTING:
            raise LanguageError(f"commands are nested more than {MAX_NESTING} deep")
        if start not in self._known:
            self._known[start] = self._expanded(start).best(start, depth)
        return self._known[start]

    def _expanded(self, start: int) -> _Parse[T]:
        """A parse of the words with the alias at `start` replaced; this one if there is none."""
        if not self._aliases:
            return self
        words, origins = expand(self._words, start, self._origins, self._aliases)
        return self if words is self._words else _Parse(self._grammar, words, origins, self._aliases)

    def best(self, start: int, depth: int) -> Match[T] | _Miss | _Tie:
        """The command that begins at a word, taken as it is."""
        initials = tuple(word[:1] for word in self._words[start : start + INDEXED_WORDS])
        results = [self._pattern(entry, start, depth) for entry in self._grammar.fitting(initials)]
        matches = [result for result in results if isinstance(result, Match)]
        if matches:
            return _choose(matches)
        tie = next((result for result in results if isinstance(result, _Tie)), None)
        return self._miss(start, depth) if tie is None else tie

    def _miss(self, start: int, depth: int) -> _Miss:
        """Why nothing matches: how far each pattern comes that begins with the first word."""
        first = self._words[start] if start < len(self._words) else ""
        attempts: dict[int, tuple[Attempt, ...]] = {}  # by identity: several patterns may nest the same words
        for entry in self._grammar.starting_with(first[:1]):
            result = self._pattern(entry, start, depth)
            if isinstance(result, _Miss):
                attempts[id(result.attempts)] = result.attempts
        return _Miss(_furthest(attempts.values()))

    def _pattern(self, entry: Entry[T], start: int, depth: int) -> Match[T] | _Miss | _Tie:
        match = Match(entry.owner, entry.pattern, words=self._words[start:])
        taken: list[Taken] = []
        position = start
        for item in entry.pattern.items:
            if position == len(self._words):
                if not item.optional:
                    return _Miss((Attempt(entry.pattern, position, start),))
            elif item.is_nested:
                nested = self.command(position, depth + 1)
                if isinstance(nested, _Miss) and not nested.attempts:  # nothing begins like that
                    return _Miss((Attempt(entry.pattern, position, position),))
                if not isinstance(nested, Match):
                    return nested
                match.nested = nested
                match.words = (*self._words[start:position], *nested.words)
                position = len(self._words)
            elif item.is_list:
                match.values[item.key] = self._words[position:]
                position = len(self._words)
            else:
                word = _take(item, self._words[position], match.values)
                if word is None:
                    return _Miss((Attempt(entry.pattern, position, start),))
                if isinstance(word, _Tie):
                    return word
                taken.append(word)
                position += 1
        if position < len(self._words):
            return _Miss((Attempt(entry.pattern, position, start),))
        match.taken = tuple(taken)
        return match


def _furthest(attempts: Iterable[tuple[Attempt, ...]]) -> tuple[Attempt, ...]:
    """Those that came furthest; only they can tell what was meant."""
    known = [attempt for group in attempts for attempt in group]
    reached = max((attempt.position for attempt in known), default=0)
    return tuple(attempt for attempt in known if attempt.position == reached)


def _take(item: Item, word: str, values: dict[str, str | bool | tuple[str, ...]]) -> Taken | _Tie | None:
    """Let a single item take a word; None if it does not fit."""
    if item.is_string:
        values[item.key] = word
        return Taken(Rank.STRING)
    fitting = [word] if word in item.words else [option for option in item.words if word and option.startswith(word)]
    if not fitting:
        return None
    if len(fitting) > 1:
        return _Tie(tuple(fitting))
    if item.is_choice:
        values[fitting[0]] = True
    return Taken(Rank.EXACT if fitting[0] == word else Rank.ABBREVIATED, fitting[0])


def _choose(matches: list[Match[T]]) -> Match[T] | _Tie:
    """The best of the matches, unless several are equally good and mean different things."""
    position = 0
    while not _synonyms(matches):
        words = [match.taken[position] for match in matches if position < len(match.taken)]
        if not words:
            return _Tie(tuple(match.pattern.usage for match in matches))
        best = min(words).rank
        matches = [m for m in matches if position >= len(m.taken) or m.taken[position].rank == best]
        if len({word for word in words if word.rank == best}) > 1 and not _synonyms(matches):
            return _Tie(tuple(match.pattern.usage for match in matches))
        position += 1
    return matches[0]


def _synonyms(matches: list[Match[T]]) -> bool:
    """Whether all are spellings of the same thing, e.g. `vm config disk` and `vm config disks`."""
    first = matches[0]
    return all(match.owner is first.owner and match.values == first.values for match in matches)


def _unknown(grammar: Grammar[T], shown: str, attempts: Sequence[Attempt], words: Sequence[str]) -> UnknownCommandError:
    patterns = [entry.pattern for entry in grammar.entries]
    nearest = nearest_patterns(patterns, attempts, words)
    hints = [f"invalid command: `{_short(shown)}`"]
    if word := unknown_word(attempts, words):
        hints.append(f"`{_short(word)}` is no command")
    if nearest:
        hints.append(f"did you mean {_either(nearest)}?")
    elif known := understood(attempts, words):
        hints.append(f"see `help {_short(' '.join(map(quote, known)))}`")
    return UnknownCommandError(": ".join(hints), nearest)


def _ambiguous(shown: str, candidates: Sequence[str]) -> AmbiguousCommandError:
    names = tuple(dict.fromkeys(candidates))
    message = f"invalid command: `{_short(shown)}`: ambiguous, it could mean {_either(names)}"
    return AmbiguousCommandError(message, names)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_INPUT else f"{text[:SHOWN_INPUT]}…"


def _either(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names[:SHOWN_CANDIDATES]]
    if len(names) > SHOWN_CANDIDATES:
        quoted.append(f"{len(names) - SHOWN_CANDIDATES} others")
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
