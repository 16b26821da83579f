"""Plumber and broker killed at random moments while `minibus pipe` processes write and read: nothing told is lost."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import MINIBUS, Product, product_on, until

WRITERS = "ab"
READERS = 2
LINES = 400_000
PAD = b"x" * 80
KILLS = ("plumber", "broker", "plumber", "plumber", "broker")
COMMAND_S = 2.0


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """minibus of its own: it does not forget how often its processes fell."""
    with product_on(base_dir, rootfs) as product:
        yield product


def attach(
    stack: contextlib.ExitStack, product: Product, *arguments: str, **streams: object
) -> subprocess.Popen[bytes]:
    """`minibus pipe`, killed at the end if it still runs."""
    process: subprocess.Popen[bytes] = stack.enter_context(
        subprocess.Popen([MINIBUS, "pipe", "--base", product.base, *arguments], **streams)  # type: ignore[call-overload]
    )
    stack.callback(process.kill)
    return process


def check(path: Path) -> None:
    """Each writer's lines are all there and in order; a repeat goes back a little and then on without a gap."""
    last = dict.fromkeys(WRITERS, 0)
    top = dict.fromkeys(WRITERS, 0)
    with path.open("rb") as lines:
        for line in lines:
            name, number = chr(line[0]), int(line[2:10])
            assert line[10:] == b" " + PAD + b"\n", line
            assert number == last[name] + 1 or number <= top[name], f"{name}: {number} after {last[name]}"
            last[name] = number
            top[name] = max(top[name], number)
    assert top == last == dict.fromkeys(WRITERS, LINES)


def test_whatever_is_killed_all_lines_arrive_in_order(product: Product, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    for name in WRITERS:
        with (tmp_path / name).open("wb") as source:
            source.writelines(b"%s %08d %s\n" % (name.encode(), number, PAD) for number in range(1, LINES + 1))
    with contextlib.ExitStack() as stack, product.console() as console:
        outs = [tmp_path / f"out{number}" for number in range(READERS)]
        readers = [
            attach(stack, product, "--read", "drill", stdout=stack.enter_context(out.open("wb"))) for out in outs
        ]
        until(lambda: [row["readers"] for row in console.rows("pipe")] == [str(READERS)], "the readers")
        writers = [
            attach(stack, product, "--write", "drill", stdin=stack.enter_context((tmp_path / name).open("rb")))
            for name in WRITERS
        ]
        killed = 0
        for victim in KILLS:
            time.sleep(chance.uniform(0.05, 0.4))
            if all(writer.poll() is not None for writer in writers):
                break
            product.replaced(victim, product.kill(victim))
            killed += 1
        assert killed >= 3, "all was over before it began"
        assert [writer.wait(60) for writer in writers] == [0, 0]
        product.everything_answers()
        with product.console() as after:
            after.ok("clear pipe drill")
        assert [reader.wait(60) for reader in readers] == [0] * READERS
    for out in outs:
        check(out)
        out.unlink()


def test_a_stopped_reader_stops_no_command(product: Product) -> None:
    with contextlib.ExitStack() as stack, product.console() as console:
        stopped = attach(stack, product, "--read", "slow", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(lambda: [row["readers"] for row in console.rows("pipe")] == ["1"], "the reader")
        os.kill(stopped.pid, signal.SIGSTOP)
        writer = attach(stack, product, "--write", "slow", stdin=subprocess.PIPE)
        assert writer.stdin is not None
        os.set_blocking(writer.stdin.fileno(), False)
        begin = time.monotonic()
        slowest = 0.0
        while time.monotonic() - begin < 8.0:
            with contextlib.suppress(BlockingIOError):
                os.write(writer.stdin.fileno(), (b"y" * 94 + b"\n") * 600)
            at = time.monotonic()
            console.command("pipe slow word")  # refused while the pipe is full, at once
            console.ok("vm info", "pipe", "pipe other word")
            slowest = max(slowest, time.monotonic() - at)
        assert slowest < COMMAND_S
        writer.stdin.close()
        assert writer.wait(30) == 0
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.stderr is not None
        said = stopped.stderr.read().decode()
        assert stopped.wait(30) == 1
        assert re.fullmatch(r"minibus: reader [0-9a-f]+ of slow was cut off: .*\n", said)
