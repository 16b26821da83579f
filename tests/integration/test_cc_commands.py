"""Commands to guests, with agents that are played by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.messages.cc import CommandState
from tests.integration.cc_host import CcHost, cc_host, uuid_of


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


async def test_a_program_runs_in_each_guest_and_what_it_says_comes_back(host: CcHost) -> None:
    async with await host.agent(1) as one, await host.agent(2) as two:
        await host.connected(2)
        number = await host.run("echo", "hello")
        rows = await host.outcomes(number)
        assert {name: (row.state, row.code, row.stdout) for name, row in rows.items()} == {
            "vm1": (CommandState.EXITED, 0, 11),
            "vm2": (CommandState.EXITED, 0, 11),
        }
        assert one.ran == two.ran == {1: 1}
        assert host.response(1, 1).read_bytes() == b"echo hello\n"
        assert host.response(1, 1, "exitcode").read_text() == "0"
        assert await host.responses("all") == {
            f"1/{uuid_of(1)}/stdout": b"echo hello\n",
            f"1/{uuid_of(2)}/stdout": b"echo hello\n",
        }
