"""A short soak: `just soak MINUTES` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.system.drill.soak import soak


def test_nothing_grows(base_dir: Path, rootfs: Path) -> None:
    run = soak(base_dir, rootfs, 0.0, cycle_s=4.0)
    assert run.commands > 20
