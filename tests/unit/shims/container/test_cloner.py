"""What the cloner loads: every page of it is in the page tables of each container until its exec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
LOAD = "import sys; sys.path.insert(0, sys.argv[1]); import shims.container.cloner; print(*sys.modules)"
HEAVY = {"asyncio", "collections", "contextlib", "enum", "functools", "msgspec", "pathlib", "re", "signal", "typing"}


def test_it_loads_nothing_heavy() -> None:
    """As the warden starts it: isolated, without site-packages."""
    argv = [sys.executable, "-I", "-S", "-c", LOAD, str(ROOT)]
    loaded = set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())
    assert "ctypes" in loaded
    assert not HEAVY & loaded
