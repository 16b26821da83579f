"""A program that has only ZeroMQ and msgpack takes part in the bus, as docs/protocol.md says it can."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bus.client import connect
from bus.messages.vm import StartVms
from bus.paths import host_name
from bus.port import Port
from tests.integration.processes import broker_serves, serves, toys
from tools.protocol_page import PAGE

CLIENT = Path(__file__).with_name("outside_client.py")


@pytest.fixture
async def bus(base_dir: Path) -> AsyncIterator[Port]:
    """A broker and a toy `vm` that serve."""
    with toys(base_dir) as processes:
        processes.start("broker")
        processes.start("vm")
        await broker_serves(base_dir)
        async with connect(base_dir) as port:
            await serves(port, "vm")
            yield port


async def lines_of(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """The next so many lines, or as many as there are."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program in Python that finds nothing of the checkout by itself; killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-u", *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_client_of_the_page_alone_joins_asks_and_notices_losses(base_dir: Path, bus: Port) -> None:
    async with program(str(CLIENT), str(base_dir)) as client:
        lines = await lines_of(client, 9)
        assert await client.wait() == 0
    assert re.fullmatch(r"reply vm\.report after event \d+ from vm", lines[0])
    assert lines[1:] == [
        "vm/minimega/web/started/ 1 lost 0",
        "vm/minimega/web/started/ 2 lost 0",
        "vm/minimega/web/started/ 3 lost 0",
        "vms []",
        "unreachable at once",
        "lost [0, 0, 2, 0, 0]",
        "tail 2",
        "of ours: []",
    ]


async def test_the_example_of_the_page_runs_as_it_stands(base_dir: Path, bus: Port, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    async with program(str(tmp_path / "example.py"), str(base_dir)) as example:
        said = await lines_of(example, 2)
        await bus.ask("vm", StartVms(target="2"), timeout_s=10.0)
        said += await lines_of(example, 2)
    assert re.fullmatch(r"0 VMs after event \d+", said[0])
    host = host_name()
    assert said[1:] == [
        f"unreachable: unreachable: no actor `nobody` on {host}",
        f"vm/minimega/web/started/ vm.started of vm@{host}, 0 lost before it",
        f"vm/minimega/web/started/ vm.started of vm@{host}, 0 lost before it",
    ]
