"""Which files patterns mean: `*`, `?` and `[...]` as in glob(7), directories with all that is in them and below."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from errno import ENOENT

_MAGIC = b"*?["
_MAX_DEPTH = 200


class Found:
    """A file that is there, or what was looked for in vain."""

    __slots__ = ("error", "path")

    def __init__(self, path: bytes, error: str = "") -> None:
        self.path, self.error = path, error


def find(patterns: list[bytes]) -> Iterator[Found]:
    """All files in the order of the patterns, and in the order of names; a pattern without any gives an error."""
    for pattern in patterns:
        any_found = False
        for path in expand(pattern):
            any_found = True
            yield from _files(path)
        if not any_found:
            yield Found(pattern, "no such file or directory")


def expand(pattern: bytes) -> Iterator[bytes]:
    """The paths that match. One that exists as it is written means itself, whatever its characters."""
    if not pattern or b"\0" in pattern:
        return
    if os.path.lexists(pattern):
        yield pattern
        return
    parts = [part for part in pattern.split(b"/") if part]
    yield from _expand(b"/" if pattern.startswith(b"/") else b"", parts)


def _expand(directory: bytes, parts: list[bytes]) -> Iterator[bytes]:
    if not parts:
        yield directory
        return
    first, rest = parts[0], parts[1:]
    if not any(character in _MAGIC for character in first):
        path = os.path.join(directory, first)
        if os.path.lexists(path):
            yield from _expand(path, rest)
        return
    try:
        names = sorted(os.listdir(directory or b"."))
    except OSError:
        return
    for name in names:
        if matches(name, first):
            path = os.path.join(directory, name)
            if not rest or os.path.isdir(path):
                yield from _expand(path, rest)


def _files(path: bytes) -> Iterator[Found]:
    """`path`, or the files below it. Links to directories are not followed there: they may lead round and round."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        yield Found(path, "no such file or directory" if error.errno == ENOENT else error.strerror or str(error))
        return
    if not stat.S_ISDIR(mode):
        yield Found(path)
        return
    waiting = [(path, 0)]
    while waiting:
        directory, depth = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(directory, error.strerror or str(error))
            continue
        below = []
        for entry in found:
            inside = os.path.join(directory, entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append((inside, depth + 1))
                elif entry.is_file():
                    yield Found(inside)
            except OSError as error:
                yield Found(inside, error.strerror or str(error))
        if depth < _MAX_DEPTH:
            waiting += reversed(below)


def matches(name: bytes, pattern: bytes) -> bool:
    """As the shell does it: a name that begins with a dot needs a dot in the pattern."""
    if name.startswith(b".") and not pattern.startswith(b"."):
        return False
    # The last star takes one character more whenever what follows does not fit: never worse than length by length.
    at = in_name = 0
    star, star_name = -1, 0
    while in_name < len(name):
        if at < len(pattern) and pattern[at : at + 1] == b"*":
            star, star_name = at, in_name
            at += 1
            continue
        width = _one(name[in_name], pattern, at) if at < len(pattern) else 0
        if width:
            at += width
            in_name += 1
        elif star >= 0:
            star_name += 1
            at, in_name = star + 1, star_name
        else:
            return False
    return not pattern[at:].strip(b"*")


def _one(byte: int, pattern: bytes, at: int) -> int:
    """How much of the pattern at `at` this byte matches; 0 if it does not."""
    first = pattern[at : at + 1]
    if first == b"?":
        return 1
    if first == b"[":
        end = pattern.find(b"]", at + 2 + (pattern[at + 1 : at + 2] in (b"!", b"^")))
        if end > 0:
            return end + 1 - at if _in_set(byte, pattern[at + 1 : end]) else 0
    return 1 if pattern[at] == byte else 0


def _in_set(byte: int, text: bytes) -> bool:
    negated = text[:1] in (b"!", b"^")
    if negated:
        text = text[1:]
    found, at = False, 0
    while at < len(text):
        if text[at + 1 : at + 2] == b"-" and at + 2 < len(text):
            found = found or text[at] <= byte <= text[at + 2]
            at += 3
        else:
            found = found or text[at] == byte
            at += 1
    return found != negated
