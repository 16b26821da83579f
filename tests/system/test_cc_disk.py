"""A disk that guests have filled: nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.messages.cc import CommandKind, CommandSpec, CommandState
from tests.integration.cc_host import CcHost, cc_host
from tests.integration.processes import until

MIB = 1024 * 1024


@pytest.fixture
def small_files(base_dir: Path) -> Iterator[Path]:
    """A file area of 32 MiB."""
    files = base_dir / "files"
    files.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "minibus-test", str(files)], check=True)
    try:
        yield files
    finally:
        subprocess.run(["umount", str(files)], check=True)


@pytest.fixture
async def host(base_dir: Path, small_files: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


async def test_output_waits_for_room_and_a_file_that_has_none_is_refused(host: CcHost) -> None:
    said = os.urandom(6 * MIB).hex().encode()
    filler = host.files / "filler"
    filler.write_bytes(bytes(24 * MIB))
    async with await host.agent(1, program=lambda run: (said, b"", 0)) as agent, await host.agent(2) as other:
        await host.connected(2)
        agent.files["/big"] = said
        number = await host.run("chatter")

        async def is_full() -> bool:
            return os.statvfs(host.files).f_bavail * 4096 < 3 * MIB

        await until(is_full, 30.0)
        refused = (await host.post(CommandSpec(kind=CommandKind.RECEIVE, files=("/big",)))).id
        row = (await host.outcomes_when(refused, 2))["vm1"]
        assert row.state is CommandState.FAILED and "there is no room for it on the host" in row.error
        assert other.ran
        assert agent.acked[1, "stdout"] < len(said)
        filler.unlink()
        rows = await host.outcomes_when(number, 2)
        assert {row.state for row in rows.values()} == {CommandState.EXITED}
        assert host.response(number, 1).read_bytes() == said
