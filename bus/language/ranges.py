"""Lists of names with numeric ranges: `web[1-3,7],db` and back.

A range stands for numbers, sorted and without repeats. If all numbers in the brackets are typed with the same width,
the names are padded to it (`n[08-10]` is n08, n09, n10). Only a prefix may stand before the bracket, nothing after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAMES = 100_000
"""Names that one expansion may give; checked before any is made."""
MAX_PREFIX = 255
"""Characters before a bracket: the longest host name is shorter."""
MAX_DIGITS = 18
"""Digits of a number, so that it fits 64 bits."""

_NUMBERED = re.compile(rf"(.*?)([0-9]{{1,{MAX_DIGITS}}})", re.DOTALL)


class RangeError(ValueError):
    """The text is not a list of names; `str()` is one sentence."""


def expand(text: str, *, max_names: int = MAX_NAMES) -> list[str]:
    """The names that a list stands for, in order, repeats included; raises RangeError."""
    names: list[str] = []
    for item in split_items(text):
        names.extend(_expand_item(item, max_names - len(names), max_names))
    return names


def split_items(text: str) -> list[str]:
    """Split at the commas outside brackets, dropping empty items; raises RangeError on unbalanced brackets."""
    items: list[str] = []
    start = 0
    opened = False
    for position, char in enumerate(text):
        if char == "[":
            if opened:
                raise RangeError(f"nested '[' at char {position}")
            opened = True
        elif char == "]":
            if not opened:
                raise RangeError(f"unmatched ']' at char {position}")
            opened = False
        elif char == "," and not opened:
            items.append(text[start:position])
            start = position + 1
    if opened:
        raise RangeError("unterminated '['")
    items.append(text[start:])
    return [item for item in items if item]


def _expand_item(item: str, room: int, max_names: int) -> list[str]:
    prefix, bracket, rest = item.partition("[")
    if len(prefix) > MAX_PREFIX:
        raise RangeError(f"a name has more than {MAX_PREFIX} characters: {prefix[:20]}...")
    inside, _, after = rest.partition("]")
    if after:
        raise RangeError(f"invalid range specification: nothing may follow the ']' of {_short(item)}")
    spans, width = _spans(inside) if bracket else ([], 0)
    count = sum(last - first + 1 for first, last in spans) if bracket else 1
    if count > room:
        raise RangeError(f"{_short(item)} gives too many names: at most {max_names} are allowed")
    if not bracket:
        return [item]
    numbers = sorted({number for first, last in spans for number in range(first, last + 1)})
    return [f"{prefix}{number:0{width}d}" for number in numbers]


def _spans(inside: str) -> tuple[list[tuple[int, int]], int]:
    """First and last number of each subrange, and the width to pad to (0: no padding)."""
    if not inside:
        raise RangeError("invalid range specification: nothing between '[' and ']'")
    spans: list[tuple[int, int]] = []
    widths: set[int] = set()
    for part in inside.split(","):
        ends = part.split("-")
        if len(ends) > 2:
            raise RangeError(f"invalid subrange {_short(part)}")
        first, last = _number(ends[0]), _number(ends[-1])
        if last < first:
            raise RangeError(f"invalid subrange {_short(part)}: it runs backwards")
        spans.append((first, last))
        widths.update(len(end) for end in ends)
    return spans, widths.pop() if len(widths) == 1 else 0


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise RangeError(f'strconv.Atoi: parsing "{_short(text)}": invalid syntax')
    if len(text) > MAX_DIGITS:
        raise RangeError(f'strconv.Atoi: parsing "{_short(text)}": value out of range')
    return int(text)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def fold(names: Iterable[str]) -> str:
    """The shortest list for these names, sorted, each once; padding is kept and a single name has no brackets.

    `expand` gives the same set back, provided that no name is empty or holds a comma or bracket.
    """
    plain: list[str] = []
    groups: dict[tuple[str, int], set[int]] = {}
    numbered = [(name, _NUMBERED.fullmatch(name)) for name in dict.fromkeys(names)]
    padded = {(m[1], len(m[2])) for _, m in numbered if m and len(m[2]) > 1 and m[2].startswith("0")}
    for name, match in numbered:
        if match is None or len(match[1]) > MAX_PREFIX:
            plain.append(name)
            continue
        key = (match[1], len(match[2]))
        groups.setdefault(key if key in padded else (match[1], 0), set()).add(int(match[2]))
    texts = {(prefix, width): _fold_group(prefix, width, numbers) for (prefix, width), numbers in groups.items()}
    entries = [(key, text) for key, text in texts.items()] + [((name, 0), name) for name in plain]
    return ",".join(text for _, text in sorted(entries))


def _fold_group(prefix: str, width: int, numbers: set[int]) -> str:
    ordered = sorted(numbers)
    if len(ordered) == 1:
        return f"{prefix}{ordered[0]:0{width}d}"
    spans: list[list[int]] = []
    for number in ordered:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    parts = [f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}" for a, b in spans]
    return f"{prefix}[{','.join(parts)}]"
