"""What users call files, and where the files of URLs go: names in the file area that lead nowhere else. Pure."""

from __future__ import annotations

import fnmatch
import hashlib
import posixpath
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from bus.errors import InvalidError
from shims.files.file_area import Name, quoted
from shims.http.url import HttpUrl

MAX_NAME_BYTES: Final = 2048
"""With the base directory before it a path stays below PATH_MAX (limits.h)."""
MAX_COMPONENT_BYTES: Final = 255
"""NAME_MAX (limits.h)."""
MAX_DEPTH: Final = 64
"""Components; looking for a pattern holds a directory open for each."""
DIGEST_CHARACTERS: Final = 10
"""In the name of a file whose own name is taken by that of another URL."""

_NO_NAME = re.compile(r"[\0\ud800-\udfff]")
_NO_NEW_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What URLs must not bring in: every listing would have to guard against it."""


def area_name(text: str, files_dir: str) -> Name:
    """The components of what a user typed: relative to the area, or the path of something in it.

    `..` goes up as far as the top. Empty for the area itself. Raises InvalidError if no file can be called so.
    """
    if len(text) > 2 * MAX_NAME_BYTES:
        raise InvalidError(f"{quoted(text)} is too long for the name of a file")
    if text == files_dir or text.startswith(f"{files_dir}/"):
        text = text[len(files_dir) :]
    name = tuple(part for part in posixpath.normpath(f"/{text}").split("/") if part)
    _check(name, quoted(text), _NO_NAME)
    return name


def file_name(text: str, files_dir: str) -> Name:
    """As `area_name`, but of something in the area; raises InvalidError also if no name is left."""
    name = area_name(text, files_dir)
    if not name:
        raise InvalidError(f"{quoted(text)} names no file: expected one in the file area, e.g. `images/disk.qcow2`")
    return name


def deletable(text: str, files_dir: str) -> Name:
    """What to delete; empty, for all there is, only if nothing but slashes was typed."""
    return () if text and not text.strip("/") else file_name(text, files_dir)


def url_name(url: HttpUrl) -> Name:
    """Where the file of a URL goes: its path, decoded. Raises InvalidError if that is no name of a file."""
    if url.path.endswith("/"):
        raise InvalidError(f"{url.public} names no file: it ends in a slash")
    name = tuple(_component(part, url) for part in url.path.split("/") if part)
    _check(name, url.public, _NO_NEW_NAME)
    return name


def url_digest(url: HttpUrl) -> str:
    """What tells URLs apart: everything in them but user and password."""
    return hashlib.sha256(url.address.encode()).hexdigest()


def other_name(name: Name, digest: str) -> Name:
    """A name beside the first one, for a URL whose path is that of another: `disk-3f5a9c0b12.qcow2`."""
    stem, suffix = posixpath.splitext(name[-1])
    mark = f"-{digest[:DIGEST_CHARACTERS]}"
    room = MAX_COMPONENT_BYTES - len(mark) - len(suffix.encode())
    if room < 1:
        stem, suffix, room = name[-1], "", MAX_COMPONENT_BYTES - len(mark)
    return (*name[:-1], f"{stem.encode()[:room].decode(errors='ignore')}{mark}{suffix}")


def covers(pattern: Name, name: Name) -> bool:
    """Whether a pattern, taken component by component, means this name."""
    return len(pattern) == len(name) and all(map(fnmatch.fnmatchcase, name, pattern))


def _component(encoded: str, url: HttpUrl) -> str:
    try:
        part = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise InvalidError(f"the path of {url.public} is not UTF-8") from None
    if part in (".", "..") or "/" in part:
        raise InvalidError(f"the path of {url.public} has a `.`, a `..` or a hidden slash in it")
    return part


def _check(name: Name, shown: str, refused: re.Pattern[str]) -> None:
    if any(refused.search(part) for part in name):
        raise InvalidError(f"{shown} has a character in it that cannot be part of a name")
    sizes = [len(part.encode()) for part in name]
    if any(size > MAX_COMPONENT_BYTES for size in sizes) or sum(sizes) + len(sizes) > MAX_NAME_BYTES:
        limits = f"{MAX_COMPONENT_BYTES} bytes between slashes and {MAX_NAME_BYTES} in all"
        raise InvalidError(f"{shown} is too long: at most {limits}")
    if len(name) > MAX_DEPTH:
        raise InvalidError(f"{shown} is too deep: at most {MAX_DEPTH} directories")
