"""What system tests share: one small root file system, and a warden for each test that asks for one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shims.images import agent_build
from shims.images import rootfs as rootfs_builder
from tests.system.container_host import Host, running_host
from tests.system.hostile.kit import PREBUILT, compile_into
from tests.system.product import Console, Product, product_on

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """A busybox root file system that nobody may write to."""
    path = Path(tempfile.mkdtemp(prefix="mbr-", dir="/tmp"))
    path.chmod(0o755)
    rootfs_builder.build(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def kit() -> Iterator[Path]:
    """The programs of hostile guests; where there is no compiler they have been brought along."""
    if PREBUILT.exists():
        yield PREBUILT
        return
    path = Path(tempfile.mkdtemp(prefix="mbk-", dir="/tmp"))
    path.chmod(0o755)
    compile_into(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def agent_program() -> Path:
    """The guest agent as it goes into guests; one process of tests makes it, the others wait."""
    program = ROOT / "build" / "agent" / "minibus-agent"
    program.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(program.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        agent_build.build(program)
    finally:
        os.close(directory)
    return program


@pytest.fixture(scope="session")
def agent_rootfs(agent_program: Path) -> Iterator[Path]:
    """A busybox root file system with the agent in it."""
    path = Path(tempfile.mkdtemp(prefix="mba-", dir="/tmp"))
    path.chmod(0o755)
    rootfs_builder.build(path, agent=agent_program)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def host(base_dir: Path, rootfs: Path) -> AsyncIterator[Host]:
    """A running warden with a connected client."""
    async with running_host(base_dir, rootfs) as host:
        yield host


@pytest.fixture(scope="module")
def shared(rootfs: Path) -> Iterator[Product]:
    """One running minibus for all these tests; each leaves it as it found it."""
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    try:
        with product_on(base, rootfs) as product:
            yield product
    finally:
        shutil.rmtree(base)


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection with a sound configuration; afterwards there must be no VM and nothing on the machine."""
    before = shared.pids()
    with shared.configured() as console:
        yield console
        console.ok("clear namespace", "vm kill all", "vm flush")
        assert console.rows() == []
    assert shared.guests_left() == []
    assert shared.directories() == []
    assert shared.pids() == before, "a process fell"
