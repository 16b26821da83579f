"""What an actor shows the broker to be believed that it is one: the content of a file that only root can read.

Without it, whoever may ask on the bus could also say `Hello` as `vm` and answer in its place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

LENGTH = 64
"""Characters of [0-9a-f]."""


def path(run: Path) -> Path:
    """Where it is kept."""
    return run / "token"


def make(run: Path) -> str:
    """The token of a base directory, made anew if there is none; raises OSError.

    It stays when the broker is restarted: actors that were started by hand know nothing of that.
    """
    known = read(run)
    if known:
        return known
    token = secrets.token_hex(LENGTH // 2)
    new = path(run).with_name("token.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, token.encode())
    finally:
        os.close(fd)
    new.rename(path(run))  # at once whole
    return token


def read(run: Path) -> str:
    """The token; empty if there is none that this process may read."""
    with contextlib.suppress(OSError, ValueError):
        text = path(run).read_text("ascii")
        if len(text) == LENGTH:
            return text
    return ""


def is_same(shown: str, token: str) -> bool:
    """Whether somebody showed the token; takes as long for every wrong one."""
    return secrets.compare_digest(shown.encode(), token.encode())
