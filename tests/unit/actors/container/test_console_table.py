"""Where consoles are served, their share of the time, and how they come back."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from actors.container import console_sockets, console_table
from actors.container.console_poller import BURST_S, SHARE, Poller
from actors.container.console_sockets import Door, listen_tcp, listen_unix
from actors.container.console_table import Consoles, Home
from bus.logs.logs import Log
from shims.files.scroll_back import KEPT_BYTES
from tests.unit.actors.container.console_guest import Guest, Watcher, living_guest, until


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    async with living_guest(tmp_path) as guest:
        yield guest


# --- where viewers connect


async def test_a_door_is_for_root_alone_and_replaces_a_stale_one(base_dir: Path, guest: Guest) -> None:
    path = base_dir / "console"
    listen_unix(path).close()
    door = Door(guest.poller, listen_unix(path), guest.console.welcome)
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        await guest.said(b"hello")
        await Watcher(sock).sees(b"hello")
    door.close()


async def test_a_port_is_kept_if_it_can_be(guest: Guest) -> None:
    first = Door(guest.poller, listen_tcp("127.0.0.1", 0), guest.console.welcome)
    port = first.port
    viewer = socket.create_connection(("127.0.0.1", port))
    await guest.said(b"hello")
    await Watcher(viewer).sees(b"hello")
    first.close()  # as after a crash: its connections are there for a while
    second = Door(guest.poller, listen_tcp("127.0.0.1", port), guest.console.welcome)
    third = Door(guest.poller, listen_tcp("127.0.0.1", port), guest.console.welcome)
    assert second.port == port
    assert third.port not in (0, port)
    for door in (second, third):
        door.close()
    viewer.close()


async def test_a_door_waits_while_there_are_no_descriptors(
    base_dir: Path, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_sockets, "PAUSE_S", 0.05)
    refusing = True
    listening = listen_unix(base_dir / "console")

    class Short(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if refusing:
                raise OSError(24, "Too many open files")
            return super().accept()

    door = Door(guest.poller, Short(fileno=listening.detach()), guest.console.welcome)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(base_dir / "console"))
        busy = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - busy < 0.1, "it does not try all the time"
        refusing = False
        await guest.said(b"hello")
        await Watcher(sock).sees(b"hello")
    door.close()


# --- the share of the actor's time


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for end in ends:
        os.close(end)


async def test_consoles_get_no_more_than_their_share(pipe: tuple[int, int]) -> None:
    """Something is always ready, and by a clock that only these looks move each of them takes a millisecond."""
    clock = Clock()
    poller = Poller(Log("test"), clock=clock)
    looks = 0

    def look(events: int) -> None:
        nonlocal looks
        looks += 1
        clock.now_s += 0.001

    os.write(pipe[1], b"x")
    poller.watch(pipe[0], select.EPOLLIN, look)
    begun_s = time.monotonic()
    await until(lambda: looks > 1.5 * BURST_S / 0.001, "the burst to be over")
    assert looks * 0.001 < BURST_S + (time.monotonic() - begun_s) * SHARE + 0.005
    poller.close()


async def test_a_callback_that_fails_is_not_called_again(
    pipe: tuple[int, int], guest: Guest, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def fail(events: int) -> None:
        calls.append(events)
        raise ValueError("planted")

    os.write(pipe[1], b"x")
    guest.poller.watch(pipe[0], select.EPOLLIN, fail)
    await until(lambda: bool(calls), "the call")
    await asyncio.sleep(0.05)
    assert len(calls) == 1
    assert "planted" in capfd.readouterr().err


# --- the table


async def test_consoles_come_back_with_scroll_back_and_port(base_dir: Path) -> None:
    stored: dict[str, int] = {}

    def store(name: str, fd: int) -> None:
        stored[name] = os.dup(fd)

    def table() -> Consoles:
        return Consoles(store=store, drop=lambda name: None, address="127.0.0.1", log=Log("test"))

    (base_dir / "7").mkdir()
    home = Home(str(base_dir / "7"))
    master, slave = pty.openpty()
    first = table()
    assert first.begin(7, home, master) == ""
    console = first.get(7)
    assert console is not None
    os.write(slave, b"hello")
    await until(lambda: console.scroll_back.end == 5, "the output")
    port = first.port(7)
    first.close()
    assert not (base_dir / "7" / "console").exists()

    second = table()
    strangers, others = os.pipe()
    second.restore({**stored, "pty-8": strangers, "else": others}, {7: home._replace(port=port)})
    again = second.get(7)
    assert again is not None
    assert (second.vm_ids(), second.port(7)) == ([7], port)
    assert (again.scroll_back.stream, again.scroll_back.read(-1)) == (console.scroll_back.stream, (0, b"hello"))
    os.write(slave, b" again")
    await until(lambda: again.scroll_back.end == 11, "more output")
    second.end(7)
    assert second.vm_ids() == []
    assert {path.name for path in (base_dir / "7").iterdir()} == {"console.scroll-back"}
    second.close()
    os.close(slave)


async def test_what_cannot_be_opened_is_tried_again(base_dir: Path) -> None:
    master, slave = pty.openpty()
    consoles = Consoles(store=lambda name, fd: None, drop=lambda name: None, address="127.0.0.1", log=Log("test"))
    missing = base_dir / "7"
    assert consoles.begin(7, Home(str(missing)), master) == "No such file or directory"
    assert (consoles.port(7), 7 in consoles) == (0, True)
    missing.mkdir()
    consoles.open_missing()
    assert consoles.port(7) > 0
    assert (missing / "console").is_socket()
    consoles.close()
    os.close(slave)


async def test_without_an_address_there_is_no_port(base_dir: Path) -> None:
    master, slave = pty.openpty()
    consoles = Consoles(store=lambda name, fd: None, drop=lambda name: None, address="none", log=Log("test"))
    (base_dir / "7").mkdir()
    assert consoles.begin(7, Home(str(base_dir / "7")), master) == ""
    consoles.open_missing()
    assert consoles.port(7) == 0
    assert (base_dir / "7" / "console").is_socket()
    consoles.close()
    os.close(slave)


async def test_memory_does_not_grow(guest: Guest) -> None:
    viewer = guest.viewer(4096)
    for _ in range(40):
        await guest.said(b"y\n" * 8192)
    assert guest.console.scroll_back.end - guest.console.scroll_back.begin == KEPT_BYTES
    viewer.sock.close()


async def test_users_of_the_host_leave_room_at_a_console_to_root(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_table, "MAX_VIEWERS", console_table.OF_ROOT + 2)
    consoles = Consoles(store=lambda name, fd: None, drop=lambda name: None, address="127.0.0.1", log=Log("test"))
    master, slave = pty.openpty()
    consoles.begin(1, Home(str(base_dir)), master)
    console = consoles.get(1)
    assert console is not None
    taken = [socket.create_connection(("127.0.0.1", consoles.port(1))) for _ in range(3)]
    await Watcher(taken[-1]).sees(b"as many viewers as can be, 2 here")
    with socket.socket(socket.AF_UNIX) as root:
        root.connect(str(base_dir / "console"))
        await until(lambda: console.viewers == 3, "root")
    for sock in taken:
        sock.close()
    consoles.close()
    os.close(slave)


async def test_there_is_an_end_to_viewers(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_table, "MAX_VIEWERS", 3)
    monkeypatch.setattr(console_table, "MAX_CONNECTIONS", 4)
    consoles = Consoles(store=lambda name, fd: None, drop=lambda name: None, address="none", log=Log("test"))
    slaves = []
    for vm_id in (1, 2):
        (base_dir / str(vm_id)).mkdir()
        master, slave = pty.openpty()
        slaves.append(slave)
        consoles.begin(vm_id, Home(str(base_dir / str(vm_id))), master)

    async def connected(vm_id: int) -> Watcher:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(base_dir / str(vm_id) / "console"))
        await asyncio.sleep(0.05)
        return Watcher(sock)

    def viewers(vm_id: int) -> int:
        console = consoles.get(vm_id)
        return console.viewers if console else -1

    watchers = [await connected(1) for _ in range(3)]
    for vm_id in (1, 2, 2):
        watchers.append(await connected(vm_id))
    for refused, count in ((watchers[3], 3), (watchers[5], 1)):
        await refused.sees(b"as many viewers as can be, %d here" % count)
        await until(lambda refused=refused: bool(refused.look()) and refused.ended, "the end")  # type: ignore[misc]
    watchers[0].sock.close()
    await until(lambda: viewers(1) == 2, "one to be gone")
    watchers.append(await connected(1))
    os.write(slaves[0], b"hello")
    await watchers[-1].sees(b"hello")
    for watcher in watchers:
        watcher.sock.close()
    consoles.close()
    for slave in slaves:
        os.close(slave)
