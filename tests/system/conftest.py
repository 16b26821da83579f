"""What system tests share: one small root file system, and a warden for each test that asks for one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shims import rootfs as rootfs_builder
from tests.system.container_host import Host, running_host


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """A busybox root file system that nobody may write to."""
    path = Path(tempfile.mkdtemp(prefix="mbr-", dir="/tmp"))
    path.chmod(0o755)
    rootfs_builder.build(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def host(base_dir: Path, rootfs: Path) -> AsyncIterator[Host]:
    """A running warden with a connected client."""
    async with running_host(base_dir, rootfs) as host:
        yield host
