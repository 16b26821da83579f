"""Guests that want more than their share of the server: descriptors, the disk, its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest

from bus.messages.base import Failure, Message
from bus.messages.cc import CommandKind, CommandSpec, Listen
from bus.messages.vm import GetVms
from tests.integration.cc_agent import CHUNK, HEADER, PREAMBLE, Agent, frame
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import until
from tests.ports import free_port

MIB = 1024 * 1024
HELLO_S = 10.0
"""After so long a line on which nothing was said is closed."""


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


class Guest:
    """A line without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def enter(cls, host: CcHost, vm_id: int, **hello: Any) -> AsyncIterator[Guest]:
        """One that has said who it is."""
        path = host.launch(vm_id)

        async def is_there() -> bool:
            return path.exists()

        await until(is_there)
        guest = cls(*await asyncio.open_unix_connection(str(path)))
        try:
            guest.writer.write(PREAMBLE)
            guest.say("hello", versions=[1], uuid=uuid_of(vm_id), boot="b", agent="bad", **hello)
            guest.say("synced")
            await guest.reader.readexactly(len(PREAMBLE))
            await guest.hears("welcome")
            yield guest
        finally:
            guest.writer.close()

    def say(self, kind: str, **fields: Any) -> None:
        """A frame."""
        self.writer.write(frame({"type": kind, **fields}))

    async def hears(self, kind: str) -> dict[str, Any]:
        """The next frame of this kind."""
        while True:
            length, _ = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            message: dict[str, Any] = msgpack.unpackb(await self.reader.readexactly(length))
            if message["type"] == kind:
                return message

    async def is_asked_for_files(self, host: CcHost) -> int:
        """Serial of a command that fetches files."""
        await host.post(CommandSpec(kind=CommandKind.RECEIVE, files=("/a",)))
        return int((await self.hears("get"))["serial"])


async def test_a_file_that_is_announced_over_and_over_is_read_again_once_at_a_time(host: CcHost) -> None:
    size = 32 * MIB
    async with Guest.enter(host, 1) as guest:
        serial = await guest.is_asked_for_files(host)
        announced = {"serial": serial, "index": 0, "name": "/a", "size": 2 * size, "mode": 0o600}
        guest.say("file", **announced)
        await guest.hears("want")
        for offset in range(0, size, CHUNK):
            piece = bytes(min(CHUNK, size - offset))
            guest.say("data", serial=serial, stream="file/0", offset=offset, data=piece, eof=False)
            await guest.writer.drain()
        while (await guest.hears("ack"))["offset"] < size:
            pass
        server = psutil.Process(host.processes["cc"].pid)
        before = most = server.num_fds()
        drain = asyncio.create_task(guest.reader.read(-1))
        for _ in range(1000):
            guest.say("file", **announced)
            await guest.writer.drain()
            most = max(most, server.num_fds())
        for _ in range(20):
            guest.say("file", **{**announced, "name": "/b"})
            most = max(most, server.num_fds())
            await asyncio.sleep(0.01)
        assert most < before + 8
        drain.cancel()
        partial = next(host.files.rglob(".partial"))

        async def is_one() -> bool:
            return len(list(partial.iterdir())) == 1

        await until(is_one)


async def test_files_that_are_announced_and_never_sent_take_no_room_from_others(host: CcHost) -> None:
    async with Guest.enter(host, 1) as guest, await host.agent(2) as agent:
        await host.connected(2)
        serial = await guest.is_asked_for_files(host)

        async def claim() -> None:
            """All that there is, whatever that is just now."""
            while True:
                status = os.statvfs(host.files)
                room = status.f_bavail * status.f_frsize - 64 * MIB
                for size in (*range(room, room - 256 * MIB, -32 * MIB), *(1 << bits for bits in range(25, 9, -1))):
                    guest.say("file", serial=serial, index=size % 15, name="/a", size=size, mode=0o600)
                await guest.writer.drain()
                await asyncio.sleep(0.005)

        claims, drain = asyncio.create_task(claim()), asyncio.create_task(guest.reader.read(-1))
        await asyncio.sleep(0.1)
        agent.program = lambda run: (bytes(8 * MIB), b"", 0)
        number = (await host.post(CommandSpec(kind=CommandKind.EXEC, argv=("say",)))).id

        async def has_answered() -> bool:
            return number in agent.confirmed

        await until(has_answered, 20.0)
        assert host.response(number, 2).stat().st_size == 8 * MIB
        claims.cancel()
        drain.cancel()


async def test_a_guest_begins_few_sessions_however_often_it_connects(host: CcHost) -> None:
    """Each is written down and told to everybody."""
    path = host.launch(1)
    async with await host.agent(2):
        await host.connected(1)
        began = 0
        for number in range(60):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_unix_connection(str(path))
                hello = {"type": "hello", "versions": [1], "boot": str(number), "agent": "bad"}
                writer.write((PREAMBLE + frame(hello)) * 4)
                writer.write_eof()
                began += (await reader.read(-1)).count(b"welcome")
                writer.close()
        assert 4 <= began < 40, began


async def test_a_guest_with_more_addresses_than_are_kept_says_nothing_new_each_second(host: CcHost) -> None:
    facts = {"hostname": "h", "ips": [f"10.0.{n // 256}.{n % 256}" for n in range(1000)], "macs": ["AA:BB"]}
    journal = host.base / "state" / "cc" / "journal"
    async with Guest.enter(host, 1, **facts) as guest:
        await host.connected(1)
        size = journal.stat().st_size
        for _ in range(25):
            guest.say("facts", **facts)
            await asyncio.sleep(0.1)
        assert journal.stat().st_size < size + 5_000


async def test_agents_that_are_refused_do_not_fill_the_log(host: CcHost) -> None:
    port = free_port()
    await host.ask(Listen(port=port, address="127.0.0.1"))
    for number in range(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREAMBLE + frame({"type": "hello", "versions": [1], "uuid": uuid_of(number)}))
        assert b"refuse" in await reader.read(-1)
        writer.close()
    assert 10 < host.said().count("agent_refused") < 45


async def test_a_namespace_whose_vms_cannot_be_listed_hides_no_others(
    host: CcHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VMs may have more in them than an answer can hold."""
    reply = host._reply

    def refuses(request: Message, namespace: str) -> Message:
        if isinstance(request, GetVms) and namespace == "aaa":
            return Failure(code="unavailable", message="the answer has too many bytes")
        return reply(request, namespace)

    monkeypatch.setattr(host, "_reply", refuses)
    monkeypatch.setattr(host, "_publish", lambda *_, **__: None)  # no event tells of them
    host.launch(1, namespace="aaa")
    path = host.launch(2, namespace="zzz")
    await host.restart()

    async def has_line() -> bool:
        return path.exists()

    await until(has_line, 10.0)


async def test_who_says_nothing_at_a_port_makes_room_for_who_does(host: CcHost) -> None:
    port = free_port()
    host.launch(1)
    await host.ask(Listen(port=port, address="127.0.0.1"))
    async with contextlib.AsyncExitStack() as stack:

        async def crowd() -> None:
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
                await asyncio.sleep(0.01)

        crowding = asyncio.create_task(crowd())
        await asyncio.sleep(1.5)
        async with Agent(("127.0.0.1", port), uuid_of(1)):
            async with asyncio.timeout(HELLO_S / 2):
                await host.connected(1)
        crowding.cancel()
        await asyncio.gather(crowding, return_exceptions=True)
