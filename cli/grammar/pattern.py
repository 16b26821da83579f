"""Patterns: how a command is declared, e.g. `vm tag <target> [key or all]`.

word                literal
<key words>         required string; the text after the first blank is documentation
[key words]         optional string, last only
<a,b> [a,b]         choice; `<a,>` is a literal that is reported as a boolean
<key>... [key]...   one or more, zero or more strings, last only
(command)           the rest is a command of its own, last only
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntFlag
from typing import NamedTuple


class ItemType(IntFlag):
    """What an item takes; the values are those of the machine-readable grammar."""

    OPTIONAL = 1
    LITERAL = 2
    NESTED = 4
    STRING = 8
    CHOICE = 16
    LIST = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One element of a pattern."""

    type: ItemType
    key: str
    """Name of the value; empty for literals and choices, whose value is named as the option."""
    text: str
    """As declared, without brackets."""
    options: tuple[str, ...] = ()
    words: tuple[str, ...] = field(init=False)
    """What may be typed here, abbreviations aside; empty if anything may."""
    # Plain fields, because the matcher looks at thousands of items a second and flag arithmetic is slow.
    optional: bool = field(init=False)
    is_literal: bool = field(init=False)
    is_choice: bool = field(init=False)
    is_string: bool = field(init=False)
    is_list: bool = field(init=False)
    is_nested: bool = field(init=False)

    def __post_init__(self) -> None:
        literal = bool(self.type & ItemType.LITERAL)
        object.__setattr__(self, "words", (self.text,) if literal else self.options)
        object.__setattr__(self, "is_literal", literal)
        object.__setattr__(self, "optional", bool(self.type & ItemType.OPTIONAL))
        object.__setattr__(self, "is_choice", bool(self.type & ItemType.CHOICE))
        object.__setattr__(self, "is_string", bool(self.type & ItemType.STRING))
        object.__setattr__(self, "is_list", bool(self.type & ItemType.LIST))
        object.__setattr__(self, "is_nested", bool(self.type & ItemType.NESTED))

    @property
    def usage(self) -> str:
        """As shown in help: a choice of one looks like a literal."""
        if self.words and len(self.words) == 1 and not self.optional:
            return self.words[0]
        if self.is_nested:
            return f"({self.text})"
        body = f"[{self.text}]" if self.optional else f"<{self.text}>"
        return f"{body}..." if self.is_list else body


class Pattern(NamedTuple):
    """One way to type a command."""

    text: str
    items: tuple[Item, ...]

    @property
    def usage(self) -> str:
        """The pattern as help shows it."""
        return " ".join(item.usage for item in self.items)


class PatternError(ValueError):
    """A declaration is wrong: a bug in a command's module."""


_ITEM = re.compile(
    r"""\s*(?: <([^<>\[\]()]+)>            # required
            | \[([^<>\[\]()]+)\]          # optional
            | \(([^<>\[\]()\s]+)\)        # command
            | ([^<>\[\]()\s]+)            # literal
        )(\.\.\.)?(?=\s|$)""",
    re.VERBOSE,
)


def parse_pattern(text: str) -> Pattern:
    """Read a declaration; raises PatternError."""
    items: list[Item] = []
    position = 0
    if '"' in text or "'" in text:
        raise PatternError(f"quote in pattern `{text}`")
    while position < len(text.rstrip()):
        found = _ITEM.match(text, position)
        if found is None:
            raise PatternError(f"cannot read pattern `{text}` at character {position}")
        if items and (items[-1].optional or items[-1].is_list or items[-1].is_nested):
            raise PatternError(f"only the last item of pattern `{text}` may be optional, a list or a command")
        items.append(_item(found, text))
        position = found.end()
    if not items:
        raise PatternError("empty pattern")
    return Pattern(text, tuple(items))


def _item(found: re.Match[str], pattern: str) -> Item:
    required, optional, nested, literal, dots = found.groups()
    if literal:
        return Item(ItemType.LITERAL, "", literal + (dots or ""))
    if nested:
        return Item(ItemType.NESTED, nested, nested)
    text = required or optional
    base = ItemType.OPTIONAL if optional else ItemType(0)
    if dots:
        return Item(base | ItemType.LIST, text.split()[0], text)
    if "," in text and " " not in text:
        options = tuple(option for option in text.split(",") if option)
        if not options or len(set(options)) != len(options):
            raise PatternError(f"choice `{text}` in pattern `{pattern}` needs different options")
        return Item(base | ItemType.CHOICE, "", text, options)
    return Item(base | ItemType.STRING, text.split()[0], text)
