"""Each process of minibus killed, hung, starved of descriptors, under load: `just drill` does the same for longer."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.system.drill.drill import drill_on

pytestmark = pytest.mark.timeout(400)  # each fault may take PATIENCE_S


def test_killed_and_starved_as_always(base_dir: Path, rootfs: Path) -> None:
    with drill_on(base_dir, rootfs, 1) as drill:
        drill.kill()
        drill.starve()
        drill.everything()


def test_killed_and_hung_as_never_before(base_dir: Path, rootfs: Path) -> None:
    with drill_on(base_dir, rootfs, secrets.randbits(32)) as drill:
        drill.kill()
        drill.stop()
