"""Text of others on a terminal: what would command the terminal is shown instead."""

from __future__ import annotations

_SHOWN = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\n\t"}


def printable(text: str) -> str:
    r"""The text with control characters other than newline and tab written as `\x1b`."""
    return text.translate(_SHOWN)


def escaped(text: str) -> str:
    """Any text on one line, for a cell or within a sentence: whatever does not print is escaped, line ends as well."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
