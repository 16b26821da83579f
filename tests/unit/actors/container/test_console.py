"""One console with a real pty and real sockets: viewers, slow viewers, input, size, hang-up, its share of time."""

from __future__ import annotations

import asyncio
import os
import socket
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.container import console as console_module
from actors.container import console_sockets
from actors.container.console import INPUT_BYTES
from tests.unit.actors.container.console_guest import PATIENCE_S, Guest, living_guest, until


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    async with living_guest(tmp_path) as guest:
        yield guest


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
    guest.leave()
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
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "REOPEN_S", 0.05)
    name = os.ttyname(guest.slave)
    guest.says(b"one\n")
    guest.leave()
    await until(lambda: guest.console.scroll_back.end > 0, "the first line")
    busy = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - busy < 0.1, "it does not ask all the time"
    guest.slave = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    guest.says(b"two\n")
    await until(lambda: b"two" in guest.console.scroll_back.read(-1)[1], "the second line")
