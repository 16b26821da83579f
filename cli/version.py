"""Which version of minibus this is."""

from __future__ import annotations

import functools
from importlib import metadata

DISTRIBUTION = "minibus-testbed"


@functools.cache
def version_text() -> str:
    """Name and version of this program."""
    try:
        return f"minibus {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:  # run from a directory that was never installed
        return "minibus (not installed)"
