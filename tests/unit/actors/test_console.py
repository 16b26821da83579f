"""One console with a real pty and real sockets: viewers, slow viewers, input, size, hang-up, its share of time."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import socket
import termios
import time
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from actors.container import console as console_module
from actors.container import console_sockets, console_table
from actors.container.console import INPUT_BYTES, Console
from actors.container.console_poller import BURST_S, SHARE, Poller
from actors.container.console_sockets import Door, listen_tcp, listen_unix
from actors.container.console_table import Consoles, Home
from bus.logs import Log
from shims.scroll_back import KEPT_BYTES, ScrollBack

PATIENCE_S = 20.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.002)


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = Poller(Log("test"))
    yield poller
    poller.close()


class Guest:
    """A console, and the guest's end of its terminal."""

    def __init__(self, directory: Path, poller: Poller) -> None:
        master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.slave, False)
        self.console = Console(master, ScrollBack(directory / "scroll-back"), poller)
        self.poller = poller
        self._typed = b""

    def says(self, data: bytes) -> None:
        """Write to the terminal."""
        os.write(self.slave, data)

    async def said(self, data: bytes) -> None:
        """Write, however long, and wait until all of it has arrived."""
        end = self.console.scroll_back.end + len(data)
        while data:
            try:
                data = data[os.write(self.slave, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
        await until(lambda: self.console.scroll_back.end >= end, "all to arrive")

    def typed(self) -> bytes:
        """All that has been typed at it."""
        try:
            while data := os.read(self.slave, 65_536):
                self._typed += data
        except BlockingIOError:
            pass
        return self._typed

    def viewer(self, buffer_bytes: int = 0) -> Watcher:
        """Somebody who has connected."""
        ours, theirs = socket.socketpair()
        if buffer_bytes:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        theirs.setblocking(False)
        self.console.welcome(theirs)
        return Watcher(ours)


class Watcher:
    """The other end of a viewer's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.seen = b""
        self.ended = False

    def look(self) -> bytes:
        """Take what is there; gives all that was seen so far."""
        try:
            while data := self.sock.recv(65_536):
                self.seen += data
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        return self.seen

    async def sees(self, text: bytes) -> None:
        """Wait for it."""
        await until(lambda: text in self.look(), f"{text!r}, saw {self.seen[-200:]!r}")


@pytest.fixture
async def guest(tmp_path: Path, poller: Poller) -> AsyncIterator[Guest]:
    guest = Guest(tmp_path, poller)
    yield guest
    if not guest.console.ended:
        guest.console.close()
    if guest.slave >= 0:
        os.close(guest.slave)


async def test_output_goes_to_all_and_input_is_merged(guest: Guest) -> None:
    await guest.said(b"before\n")
    one, two = guest.viewer(), guest.viewer()
    guest.says(b"hello\n")
    for viewer in (one, two):
        await viewer.sees(b"before\nhello\n")
    one.sock.send(b"abc")
    await until(lambda: guest.typed() == b"abc", "the first input")
    two.sock.send(b"def")
    await until(lambda: guest.typed() == b"abcdef", "the second input")
    for viewer in (one, two):
        viewer.sock.close()


async def test_a_slow_viewer_harms_nobody_and_is_told_what_he_misses(guest: Guest) -> None:
    slow, quick = guest.viewer(4096), guest.viewer()
    text = b"".join(b"%09d\n" % number for number in range(40_000))
    for start in range(0, len(text), 20_000):
        await guest.said(text[start : start + 20_000])
        await quick.sees(text[start : start + 20_000][-10:])
    assert quick.seen == text
    await slow.sees(b"000039999\n")
    before, mark, after = slow.seen.partition(b"\r\n[minibus: ")
    assert text.startswith(before)
    assert mark
    skipped, _, after = after.partition(b" bytes skipped]\r\n")
    assert text == before + text[len(before) :][: int(skipped)] + after
    assert after[9:10] == b"\n", "it goes on with a whole line"
    for viewer in (slow, quick):
        viewer.sock.close()


async def test_a_guest_that_does_not_read_holds_only_those_back_who_type(guest: Guest) -> None:
    typist, watcher = guest.viewer(), guest.viewer()
    sent = 0
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.3:
        try:
            sent += typist.sock.send(b"k" * 4096)
            quiet_since = time.monotonic()
        except BlockingIOError:
            await asyncio.sleep(0.01)
    assert guest.console.room() == 0
    assert guest.console.type(b"more") == 0
    guest.says(b"still here\n")
    await watcher.sees(b"still here\n")
    await until(lambda: len(guest.typed()) == sent, "all of it to arrive at last")
    assert guest.console.room() == INPUT_BYTES
    for viewer in (typist, watcher):
        viewer.sock.close()


async def test_who_has_said_all_still_sees_the_answer(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_sockets, "LINGER_S", 0.5)
    viewer = guest.viewer()
    viewer.sock.send(b"question")
    viewer.sock.shutdown(socket.SHUT_WR)
    await until(lambda: guest.typed() == b"question", "the question")
    guest.says(b"answer\n")
    await viewer.sees(b"answer\n")
    await until(lambda: viewer.look() == b"answer\n" and viewer.ended, "the end")
    viewer.sock.close()


async def test_what_was_typed_before_a_viewer_left_arrives(guest: Guest) -> None:
    viewer = guest.viewer()
    viewer.sock.send(b"x" * 10_000)
    viewer.sock.close()
    await until(lambda: guest.typed() == b"x" * 10_000, "the input")
    guest.says(b"nobody there\n")
    await until(lambda: guest.console.scroll_back.end > 0, "the output")


async def test_the_window(guest: Guest) -> None:
    assert termios.tcgetwinsize(guest.slave) == (24, 80)
    guest.console.resize(50, 132)
    assert termios.tcgetwinsize(guest.slave) == (50, 132)


async def test_the_last_words_are_shown_before_the_end(guest: Guest) -> None:
    viewer = guest.viewer()
    guest.says(b"last words")
    os.close(guest.slave)
    guest.slave = -1
    guest.console.end()
    viewer.look()
    assert (viewer.seen, viewer.ended) == (b"last words", True)
    assert guest.console.scroll_back.read(-1) == (0, b"last words")
    viewer.sock.close()


async def test_who_waits_is_woken(guest: Guest) -> None:
    waiting = asyncio.create_task(guest.console.until_more(0, PATIENCE_S))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    guest.says(b"x")
    await asyncio.wait_for(waiting, PATIENCE_S)
    await asyncio.wait_for(guest.console.until_more(0, PATIENCE_S), 1.0)
    for timeout_s in (0.0, -1.0, float("nan"), 0.01):
        await asyncio.wait_for(guest.console.until_more(1, timeout_s), 1.0)
    waiting = asyncio.create_task(guest.console.until_more(1, PATIENCE_S))
    await asyncio.sleep(0.01)
    guest.console.end()
    await asyncio.wait_for(waiting, 1.0)


async def test_a_terminal_that_nobody_has_open_is_looked_at_again(
    tmp_path: Path, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "REOPEN_S", 0.05)
    guest = Guest(tmp_path, poller)
    name = os.ttyname(guest.slave)
    guest.says(b"one\n")
    os.close(guest.slave)
    await until(lambda: guest.console.scroll_back.end > 0, "the first line")
    busy = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - busy < 0.1, "it does not ask all the time"
    guest.slave = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    guest.says(b"two\n")
    await until(lambda: b"two" in guest.console.scroll_back.read(-1)[1], "the second line")
    guest.console.close()
    os.close(guest.slave)


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
    pipe: tuple[int, int], poller: Poller, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def fail(events: int) -> None:
        calls.append(events)
        raise ValueError("planted")

    os.write(pipe[1], b"x")
    poller.watch(pipe[0], select.EPOLLIN, fail)
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
