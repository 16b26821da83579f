"""What the bus asks of consoles: reading on, typing once, and what is said when there is no console."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
import tty
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.container import console_requests
from actors.container.console_requests import LOST, ConsoleRequests
from actors.container.console_table import Consoles, Home
from actors.container.state import Guest, GuestState
from bus.actor.base import RequestContext
from bus.errors import InvalidError, NotFoundError, OverloadedError, UnavailableError
from bus.logs.logs import Log
from bus.messages.base import Ack
from bus.messages.console import FROM_NOW, ConsoleInput, ReadConsole, ResizeConsole, TypeAtConsole
from shims.container.protocol import ContainerSpec
from shims.files.scroll_back import TYPISTS


class Actor:
    """One container, number 7."""

    def __init__(self, directory: Path) -> None:
        spec = ContainerSpec(
            guest_id=7, tag="abcd", instance_dir=str(directory), filesystem="/", hostname="x", uuid="x"
        )
        self.guests = {7: Guest(spec=spec, namespace="exp1", state=GuestState.RUNNING)}
        self.home = Home(str(directory))
        master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.slave, False)
        self.master = os.dup(master)
        self.restart()
        self.consoles.begin(7, self.home, master)

    def restart(self) -> None:
        """A new process."""
        self.consoles = Consoles(store=lambda name, fd: None, drop=lambda name: None, address="none", log=Log("test"))
        self.requests = ConsoleRequests(self.consoles, lambda: self.guests)

    def crash(self) -> None:
        """A new process in the place of one that was killed."""
        self.consoles.close()
        self.restart()
        self.consoles.go_on(7, self.home, os.dup(self.master))

    async def typed(self) -> bytes:
        """What has arrived in the container."""
        await asyncio.sleep(0.05)
        try:
            return os.read(self.slave, 65_536)
        except BlockingIOError:
            return b""

    async def type(self, position: int, data: bytes, viewer: str = "v", *, repeated: bool = False) -> ConsoleInput:
        asked = TypeAtConsole(vm_id=7, viewer=viewer, position=position, data=data, repeated=repeated)
        return await self.requests.type(asked)


@pytest.fixture
async def actor(base_dir: Path) -> AsyncIterator[Actor]:
    actor = Actor(base_dir)
    yield actor
    actor.consoles.close()
    os.close(actor.slave)
    os.close(actor.master)


async def test_reading_on(actor: Actor) -> None:
    begin = await actor.requests.read(ReadConsole(vm_id=7))
    assert (begin.offset, begin.data, begin.ended) == (0, b"", False)
    waiting = asyncio.create_task(actor.requests.read(ReadConsole(vm_id=7, stream=begin.stream, after=0)))
    await asyncio.sleep(0.01)
    assert actor.requests.waiting == 1
    os.write(actor.slave, b"hello")
    assert (await waiting).data == b"hello"
    assert actor.requests.waiting == 0
    actor.crash()
    again = await actor.requests.read(ReadConsole(vm_id=7, stream=begin.stream, after=2, wait_s=0))
    assert (again.stream, again.offset, again.data) == (begin.stream, 2, b"llo")
    now = await actor.requests.read(ReadConsole(vm_id=7, after=FROM_NOW))
    assert (now.offset, now.data) == (5, b"")
    other = await actor.requests.read(ReadConsole(vm_id=7, stream="another", after=4))
    assert (other.offset, other.data) == (0, b"hello"), "numbers of another stream mean nothing here"
    quiet = await actor.requests.read(ReadConsole(vm_id=7, stream=begin.stream, after=5, wait_s=0.01))
    assert (quiet.offset, quiet.data) == (5, b"")


async def test_typing_once(actor: Actor) -> None:
    assert await actor.type(0, b"abc") == ConsoleInput(taken=3)
    assert await actor.type(0, b"abc", repeated=True) == ConsoleInput(taken=3)
    assert await actor.type(1, b"bcde") == ConsoleInput(taken=5)
    assert await actor.typed() == b"abcde"
    actor.crash()
    assert await actor.type(3, b"de", repeated=True) == ConsoleInput(taken=5), "the earlier process had typed it"
    assert await actor.type(5, b"f", repeated=True) == ConsoleInput(taken=6), "the earlier process had not"
    assert await actor.type(0, b"new", "w", repeated=True) == ConsoleInput(taken=3)
    assert await actor.typed() == b"fnew"


async def test_nobody_remembers_everybody(actor: Actor) -> None:
    await actor.type(0, b"a")
    for number in range(TYPISTS):
        await actor.type(0, b".", f"other{number}")
    await actor.typed()
    assert await actor.type(0, b"a", repeated=True) == ConsoleInput(taken=1, in_doubt=True)
    assert await actor.typed() == b""
    assert await actor.type(1, b"b") == ConsoleInput(taken=2)
    assert await actor.typed() == b"b"


async def test_a_container_that_does_not_read(actor: Actor) -> None:
    position = 0
    while (taken := (await actor.type(position, b"x" * 4096)).taken) > position:
        position = taken
    arrived = 0
    while data := await actor.typed():
        arrived += len(data)
    assert arrived == position, "what is said to be typed has reached the terminal"
    assert (await actor.type(position, b"y")).taken == position + 1


async def test_the_size(actor: Actor) -> None:
    assert await actor.requests.resize(ResizeConsole(vm_id=7, rows=30, columns=90)) == Ack()
    assert termios.tcgetwinsize(actor.slave) == (30, 90)
    for rows, columns in ((0, 80), (24, -1), (65_536, 80), (24, 1 << 40)):
        with pytest.raises(InvalidError):
            await actor.requests.resize(ResizeConsole(vm_id=7, rows=rows, columns=columns))


async def test_too_much_at_once(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidError):
        await actor.type(0, b"x" * 4097)
    for position in (-1, (1 << 64) - 1):
        with pytest.raises(InvalidError):
            await actor.type(position, b"x")
    monkeypatch.setattr(console_requests, "MAX_VIEWERS", 0)
    stream = (await actor.requests.read(ReadConsole(vm_id=7))).stream
    with pytest.raises(OverloadedError):
        await actor.requests.read(ReadConsole(vm_id=7, stream=stream, after=0))


async def test_after_the_end_there_is_what_it_said(actor: Actor) -> None:
    os.write(actor.slave, b"last words")
    stream = (await actor.requests.read(ReadConsole(vm_id=7))).stream
    waiting = asyncio.create_task(actor.requests.read(ReadConsole(vm_id=7, stream=stream, after=10)))
    await asyncio.sleep(0.05)
    actor.consoles.end(7)
    actor.guests[7].state = GuestState.EXITED
    assert ((await waiting).offset, (await waiting).ended) == (10, True)
    late = await actor.requests.read(ReadConsole(vm_id=7))
    assert (late.data, late.ended) == (b"last words", True)
    with pytest.raises(NotFoundError):
        await actor.type(0, b"x")


async def test_there_is_none(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_requests, "APPEAR_S", 0.1)
    with pytest.raises(NotFoundError):
        await actor.requests.read(ReadConsole(vm_id=8))
    actor.consoles.end(7)
    with pytest.raises(UnavailableError):
        await actor.requests.read(ReadConsole(vm_id=7))
    actor.requests.lost.add(7)
    with pytest.raises(UnavailableError, match=LOST[:20]):
        await actor.requests.read(ReadConsole(vm_id=7))


async def test_nobody_waits_for_an_actor_that_ends(actor: Actor) -> None:
    stream = (await actor.requests.read(ReadConsole(vm_id=7))).stream
    asked = ReadConsole(vm_id=7, stream=stream, after=0, wait_s=60.0)
    waiting = asyncio.create_task(actor.requests.read(asked))
    await asyncio.sleep(0.01)
    actor.requests.end()
    assert not (await asyncio.wait_for(waiting, 5.0)).ended
    assert not (await asyncio.wait_for(actor.requests.read(asked), 5.0)).ended


def asked_by(namespace: str, key: str = "") -> RequestContext:
    """A request of somebody on this host, or of a client with this key."""
    return RequestContext(msg_id=f"key:{key}:1" if key else "1", sender="", namespace=namespace, deadline=0.0)


async def test_a_console_is_that_of_a_container_in_the_namespace(actor: Actor) -> None:
    for key in ("", "bob"):
        actor.requests.check(7, asked_by("exp1", key))
        with pytest.raises(NotFoundError, match="there is no container 7 in namespace exp2"):
            actor.requests.check(7, asked_by("exp2", key))
        with pytest.raises(NotFoundError, match="there is no container 8"):
            actor.requests.check(8, asked_by("exp1", key))


async def test_a_container_of_an_earlier_version_is_for_those_without_keys(actor: Actor) -> None:
    actor.guests[7].namespace = ""
    actor.requests.check(7, asked_by("exp1"))
    with pytest.raises(NotFoundError):
        actor.requests.check(7, asked_by("exp1", "bob"))


async def test_one_key_does_not_keep_others_from_watching(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_requests, "MAX_VIEWERS_OF_KEY", 1)
    stream = (await actor.requests.read(ReadConsole(vm_id=7))).stream
    asked = ReadConsole(vm_id=7, stream=stream, after=0, wait_s=60.0)
    waiting = [asyncio.create_task(actor.requests.read(asked, key)) for key in ("bob", "eve", "", "")]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="1 viewers of the key bob wait for output already"):
        await actor.requests.read(asked, "bob")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await actor.requests.read(ReadConsole(vm_id=7, stream=stream, after=0, wait_s=0.01), "bob")).data == b""
