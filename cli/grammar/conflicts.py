"""Declarations that get in each other's way: two patterns that could match the same words equally well."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, zip_longest

from cli.grammar.pattern import Item, Pattern, parse_pattern


def conflicts(declared: Sequence[str]) -> list[str]:
    """What is wrong with a set of patterns, one sentence each."""
    problems = [f"duplicate pattern: `{text}`" for text in dict.fromkeys(declared) if declared.count(text) > 1]
    patterns = [parse_pattern(text) for text in dict.fromkeys(declared)]
    for first, second in combinations(patterns, 2):
        if _overlap(first, second):
            problems.append(f"ambiguous patterns: `{first.text}` and `{second.text}`")
    return problems


def _overlap(first: Pattern, second: Pattern) -> bool:
    """Whether some input matches both, every word spelled out. A literal beats a string, so these two never clash."""
    for one, other in zip_longest(first.items, second.items):
        if one is None or other is None:
            return bool((one or other).optional)
        if one.optional and other.optional:
            return True
        if one.is_list or other.is_list:
            return _takes_anything(one) and _takes_anything(other)
        if not _same_word(one, other):
            return False
    return True


def _takes_anything(item: Item) -> bool:
    return item.is_string or item.is_list


def _same_word(one: Item, other: Item) -> bool:
    if one.is_nested or other.is_nested:
        return one.is_nested and other.is_nested
    return (one.is_string and other.is_string) or not set(one.words).isdisjoint(other.words)
