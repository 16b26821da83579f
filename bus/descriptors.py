"""How many descriptors a process of ours may have: as many as it can get, because a container takes some in several.

What is started for others gets the limit that was there before: programs that go through all descriptors up to their
limit, or call select(2), would notice.
"""

from __future__ import annotations

import contextlib
import resource

Limit = tuple[int, int]
"""Soft and hard, getrlimit(2)."""

_before: Limit | None = None


def raise_limit() -> None:
    """Raise the soft limit of this process to the hard one. Processes that are forked later inherit that."""
    global _before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    with contextlib.suppress(ValueError, OSError):  # a hard limit above fs.nr_open
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _before = (soft, hard)


def limit_before() -> Limit | None:
    """What programs of others get; None if they have just what this process has."""
    return _before
