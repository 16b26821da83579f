"""A disk that fills up and empties again, under load."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.system.drill.disk import small_disk
from tests.system.drill.drill import drill_on

pytestmark = pytest.mark.timeout(400)  # each fault may take PATIENCE_S


def test_a_disk_that_was_full(base_dir: Path, rootfs: Path) -> None:
    with small_disk(base_dir) as base, drill_on(base, rootfs, secrets.randbits(32), herd=10) as drill:
        drill.disk()
