"""Guests that mean harm, and crashes of the server under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from bus.messages.cc import (
    CommandKind,
    CommandSpec,
    CommandState,
    GetClients,
)
from tests.integration.cc_agent import PREAMBLE, Agent, frame
from tests.integration.cc_host import CcHost, cc_host
from tests.integration.processes import until


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


async def _is(value: bool) -> bool:
    return value


# ---------------------------------------------------------------- hostile guests


HELLO = {"type": "hello", "versions": [1], "uuid": "x", "boot": "b", "agent": "bad"}
ONE = {"serial": 1, "index": 0}


def random_data(rng: random.Random) -> bytes:
    """Output from anywhere."""
    offset = rng.randrange(2**40)
    return frame({"type": "data", **ONE, "stream": "stdout", "offset": offset, "data": b"x" * 60_000})


def random_end(rng: random.Random) -> bytes:
    """Beginnings and ends in any number."""
    started = frame({"type": "started", **ONE, "pid": rng.randrange(100)})
    return started + frame({"type": "done", **ONE, "outcome": "unknown"})


def random_type(rng: random.Random) -> bytes:
    """What belongs to nothing."""
    return frame({"type": rng.choice(["done", "record", "want", "pipe", "dial", "tag"]), "serial": 2**60})


HARM: tuple[Callable[[random.Random], bytes], ...] = (
    lambda rng: rng.randbytes(10_000),
    lambda rng: frame({"type": "ping", "n": 1}) * 1000,
    lambda rng: struct.pack("!II", rng.randrange(2**32), 0),
    random_data,
    lambda rng: frame({"type": "file", **ONE, "index": rng.randrange(100), "name": "/../../x", "size": 2**50}),
    random_type,
    lambda rng: frame({"type": "pipe", "channel": rng.randrange(1000), "pipe": "p", "writes": True}),
    lambda rng: frame({"type": "facts", "hostname": str(rng.random()), "ips": [], "macs": []}) * 100,
    lambda rng: PREAMBLE + frame({**HELLO, "boot": str(rng.random())}),
    random_end,
    lambda rng: frame({"type": "tag", "number": 1, "key": "k" * rng.randrange(1, 1000), "value": "v" * 10_000}),
)


async def hostile(path: Path, harm: Callable[[random.Random], bytes], seed: int) -> None:
    """One that does its worst for as long as it is let."""
    rng = random.Random(seed)
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            _, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(PREAMBLE + frame(HELLO) + frame({"type": "synced"}))
                for _ in range(200):
                    writer.write(harm(rng))
                    await writer.drain()
                    await asyncio.sleep(0)
            finally:
                writer.close()
        await asyncio.sleep(0.01)


async def test_guests_that_mean_harm_hurt_nobody_else(host: CcHost) -> None:
    paths = [host.launch(100 + number) for number in range(len(HARM))]
    outside = {path for path in host.base.rglob("*") if "miniccc_responses" not in str(path)}
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(await host.agent(number)) for number in range(1, 21)]
        await host.connected(20)
        bad = [asyncio.create_task(hostile(path, HARM[number], number)) for number, path in enumerate(paths)]
        try:
            for _ in range(5):
                number = await host.run("hello")
                await until(partial(_answered, host, number, agents), 60.0)
            assert all(set(agent.ran.values()) == {1} and len(agent.ran) == 5 for agent in agents)
        finally:
            for task in bad:
                task.cancel()
            await asyncio.gather(*bad, return_exceptions=True)
        status = Path(f"/proc/{host.processes['cc'].pid}/status").read_text()
        (rss,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        assert rss < 200_000
        assert host.processes["cc"].poll() is None
        assert sum(path.stat().st_size for path in (host.base / "state" / "cc").iterdir()) < 5_000_000
        assert "Traceback" not in host.said()
        new = {path for path in host.base.rglob("*") if "miniccc_responses" not in str(path)} - outside
        assert not [path for path in new if path.name == "x"]


async def _answered(host: CcHost, number: int, agents: list[Agent]) -> bool:
    return all(number in agent.confirmed for agent in agents)


async def test_who_says_nothing_and_who_comes_too_often_blocks_nobody(host: CcHost) -> None:
    path = host.launch(1)
    await until(lambda: _is(path.exists()))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await asyncio.open_unix_connection(str(path))
            stack.callback(writer.close)
        async with await host.agent(1) as agent:
            await host.connected(1)
            await host.outcomes(await host.run("x"))
            assert agent.ran == {1: 1}
    assert (await host.ask(GetClients(), timeout_s=5.0)) is not None


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_command_is_lost_or_done_twice_whatever_dies(host: CcHost, seed: int) -> None:
    rng = random.Random(seed)
    (host.files).mkdir(exist_ok=True)
    payload = os.urandom(300_000)
    (host.files / "payload").write_bytes(payload)
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(await host.agent(number)) for number in range(1, 41)]
        for agent in agents:
            agent.files["/from"] = payload
        await host.connected(40)
        numbers: list[int] = []
        for round_ in range(3):
            for spec in (
                CommandSpec(kind=CommandKind.EXEC, argv=("say", str(round_))),
                CommandSpec(kind=CommandKind.SEND, files=("payload",)),
                CommandSpec(kind=CommandKind.RECEIVE, files=("/from",)),
            ):
                numbers.append((await host.post(spec)).id)
            for agent in rng.sample(agents, 5):
                agent.hang_up()
            await asyncio.sleep(rng.random() * 0.5)
            await host.restart()
        for number in numbers:
            rows = await host.outcomes_when(number, 40)
            assert {row.state for row in rows.values()} == {CommandState.EXITED}, (number, rows)
        assert numbers == list(range(1, 10))
        for agent in agents:
            assert agent.ran == {number: 1 for number in numbers}
            assert agent.files["/files/payload"] == payload
        for vm_id in range(1, 41):
            assert host.response(7, vm_id).read_bytes() == b"say 2\n"
            assert host.response(9, vm_id, "from").read_bytes() == payload


async def test_an_agent_without_a_disk_that_dies_never_does_anything_twice(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.durable = False
        agent.on_run = lambda message: agent.ran.update([message["serial"]])  # type: ignore[method-assign]
        await host.connected(1)
        number = await host.run("x")
        await until(lambda: _is(agent.ran == {1: 1}))
        agent.agent = "another"
        agent.hang_up()
        row = (await host.outcomes(number))["vm1"]
        assert row.state is CommandState.UNKNOWN and "keeps no records" in row.error
        assert agent.ran == {1: 1}
