"""The wall clock set forth and back by years, under load."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.system.drill.clock import WallClock
from tests.system.drill.drill import drill_on

pytestmark = pytest.mark.timeout(400)  # each fault may take PATIENCE_S


def test_a_clock_that_jumps(base_dir: Path, rootfs: Path, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    with clock.kept_by_all(), drill_on(base_dir, rootfs, secrets.randbits(32), herd=10) as drill:
        drill.clock(clock)
