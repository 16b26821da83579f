"""A mount, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.shims.agent.fuse_kernel import Kernel, entries


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A mount of an empty directory."""
    root = tmp_path / "root"
    root.mkdir()
    kernel = Kernel(root)
    before = len(entries(Path("/proc/self/fd")))
    yield kernel
    kernel.server.close()
    assert len(entries(Path("/proc/self/fd"))) <= before
