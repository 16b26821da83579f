"""What may stand in the arguments of a command for something else: `$NAME`, `file:NAME`, URLs. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from bus.messages.files import FetchUrl, GetFile

FILE = "file:"
URLS = ("http://", "https://")
MAX_EXPANDED = 1_048_576
"""Characters of a word after its variables have been replaced."""

_VARIABLE = re.compile(r"\$(?:\{([^{}]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


class PreprocessError(Exception):
    """A word cannot be replaced, so the command is neither run nor recorded; `str()` is one sentence."""


def lookup(overlay: Mapping[str, str]) -> Callable[[str], str]:
    """Values of variables: of a session, else of this process; empty if neither has one."""
    return lambda name: overlay[name] if name in overlay else os.environ.get(name, "")


def environment(overlay: Mapping[str, str]) -> dict[str, str]:
    """All variables of a session and of this process that are not empty."""
    return {name: value for name, value in sorted({**os.environ, **overlay}.items()) if value}


def replace_variables(word: str, value_of: Callable[[str], str]) -> str:
    """The word with `$NAME` and `${NAME}` replaced; an escaped `$`, and one before anything else, stays.

    Raises PreprocessError if it becomes too long.
    """
    if "$" not in word:
        return word
    literal = getattr(word, "literal", ())
    length = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal length
        if found.start() in literal:
            return found.group()
        value = value_of(found.group(1) or found.group(2) or "")
        length += len(value)
        if length > MAX_EXPANDED:
            raise PreprocessError(f"`{word[:80]}` becomes longer than {MAX_EXPANDED} characters")
        return value

    return _VARIABLE.sub(replace, word)


def wanted_file(word: str, *, free_text: bool) -> GetFile | FetchUrl | None:
    """What to ask the file area for in place of a word; None if it is what it is.

    In free text a URL is a URL: who types `shell curl http://…` does not want it fetched first.
    Raises PreprocessError.
    """
    if word.startswith(FILE):
        name = word[len(FILE) :].lstrip("/")
        if name:
            return GetFile(name=name)
        if free_text:
            return None
        raise PreprocessError(f"`{word}` names no file: expected file:NAME")
    if word.startswith(URLS) and not free_text:
        return FetchUrl(url=word)
    return None
