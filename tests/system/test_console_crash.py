"""Consoles while processes die, descriptors run out and guests write without end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.console_viewer import CTRL_RIGHT_BRACKET, at_terminal, begin, launched, script, watching
from tests.system.product import (
    PATIENCE_S,
    Done,
    Product,
    product_on,
    shell_init,
    until,
)

COUNT = "while :; do i=$((i+1)); echo tick $i; sleep 0.02; done"
FLOOD = "exec yes 0123456789012345678901234567890123456789012345678901234567890123456789"


def opened(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


@pytest.fixture
def own(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """A minibus for one test that does it harm."""
    with product_on(base_dir, rootfs) as product:
        yield product


@contextlib.contextmanager
def follower(product: Product, name: str) -> Iterator[Path]:
    """`minibus console --read-only` into a file."""
    path = product.base / "followed"
    with path.open("wb") as file:
        process = begin(product, "--read-only", name, stdin=subprocess.DEVNULL, stdout=file.fileno())
    try:
        yield path
    finally:
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (143, "")


def test_a_viewer_loses_and_repeats_nothing_whatever_dies(own: Product) -> None:
    with own.configured() as console:
        vm = launched(console, "web", f"read x; {COUNT}")
        with watching(own, vm) as viewer, follower(own, "web") as path:
            viewer.type("go\n")
            until(lambda: len(path.read_text().splitlines()) > 5, "the follower")
            for process in ("container", "broker", "container"):
                old = own.kill(process)
                own.replaced(process, old)
                seen = own.base.joinpath("followed").stat().st_size
                until(lambda seen=seen: path.stat().st_size > seen + 100, "it to go on")  # type: ignore[misc]
            viewer.is_let_go()
            with watching(own, vm, tcp=True) as again:
                again.sees("tick 1\r\n")
            own.kill("node")
            own.up()
            seen = path.stat().st_size
            until(lambda: path.stat().st_size > seen + 100, "it to go on")
            lines = path.read_bytes().decode().split("\r\n")
            assert lines[0] == "go"
            numbers = [int(line.split()[1]) for line in lines[1:-1]]
            assert numbers == list(range(1, len(numbers) + 1))
    with own.console() as console, watching(own, vm) as viewer:
        assert console.vm("web")["console_port"] == vm["console_port"]
        viewer.sees("tick 1\r\n")
        viewer.sees(f"tick {len(numbers)}\r\n")


async def test_a_session_goes_on_after_a_crash(own: Product) -> None:
    with own.configured() as console:
        launched(console, "web")
        async with at_terminal(own, "web") as terminal:
            await terminal.sees("press Enter for a shell")
            terminal.type("\r")
            await terminal.sees("/ # ")
            for number in range(2):
                old = own.kill("container")
                terminal.type(f"echo n$(({number}+10))n\r")
                await terminal.sees(f"n{number + 10}n\n")
                own.replaced("container", old)
            terminal.type(CTRL_RIGHT_BRACKET)
            assert await terminal.ends() == 0


def test_a_console_that_nobody_could_hold_is_said_to_be_lost(own: Product) -> None:
    with own.configured() as console:
        launched(console, "web", "trap : HUP; while :; do sleep 1; done >/dev/null 2>&1 </dev/null")
    pids = [own.pid(name) for name in own.ps()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    until(lambda: not any(map(psutil.pid_exists, pids)), "everything to end")
    own.up()
    with own.console() as console:
        until(lambda: console.vm("web")["console_port"] == "0", "the loss to be noticed")
        assert console.states() == {"web": "RUNNING"}
        said = script(own, "", "web").sentence()
        assert said.startswith("minibus: the console is lost: nobody held its other end")
        assert "console_lost" in own.log_end()
        console.ok("vm kill web", "vm start web")
        assert console.vm("web")["console_port"] != "0"
        assert script(own, "", "web") == Done(0, "", "")


def test_without_descriptors_a_container_runs_and_gets_its_console_later(own: Product) -> None:
    with own.configured() as console:
        launched(console, "first")
        pid = own.pid("container")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for room in (0, 1, 2, 3):
            highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + room, before[1]))
            console.ok(f"vm launch container short{room}", f"vm start short{room}")
        assert set(console.states().values()) == {"RUNNING"}
        assert "0" in {row["console_port"] for row in console.rows()}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        until(lambda: "0" not in {row["console_port"] for row in console.rows()}, "every console to have its port")
        for row in console.rows():
            with watching(own, row, tcp=True) as viewer:
                viewer.type("\n")
                viewer.sees("/ # ")
        assert own.ps()["container"]["restarts"] == 0


def test_the_terminal_survives_the_warden_and_later_all_others(own: Product) -> None:
    """Whoever is left has it, and gives it to those who come back."""
    with own.configured() as console:
        vm = launched(console, "web")
        with watching(own, vm) as viewer:
            viewer.type("\n")
            viewer.sees("/ # ")
        old = own.kill("warden")
        own.replaced("warden", old)
        until(lambda: "/dev/ptmx" in opened(own.pid("warden")), "its copy of the terminal")
        for _ in range(2):
            pids = [own.pid(name) for name in own.ps() if name != "warden"]
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    os.kill(pid, number)
            until(lambda pids=pids: not any(map(psutil.pid_exists, pids)), "all but the warden to end")  # type: ignore[misc]
            own.up()
    with own.console() as console:
        after = console.vm("web")
        assert after | {"uptime": ""} == vm | {"uptime": ""}
        with watching(own, after) as viewer:
            viewer.type("echo a$((1+1))b\n")
            viewer.sees("a2b\r\n")


# --- guests that mean ill


def test_guests_that_talk_without_end_slow_nobody_down(own: Product) -> None:
    with own.configured() as console:
        console.ok(shell_init(FLOOD), "vm launch container loud[1-5]", "vm start all")
        quiet = launched(console, "quiet")
        with contextlib.ExitStack() as stack:
            loud = [stack.enter_context(watching(own, row)) for row in console.rows() if row["name"] != "quiet"]
            actor = psutil.Process(own.pid("container"))
            time.sleep(1.0)
            memory, began, spent = actor.memory_info().rss, time.monotonic(), sum(actor.cpu_times()[:2])
            took = []
            for _ in range(60):
                start = time.monotonic()
                console.ok("vm info")
                took.append(time.monotonic() - start)
                for viewer in loud[:2]:
                    viewer.look()
            with watching(own, quiet) as viewer:
                viewer.type("\n")
                viewer.sees("/ # ")
            share = (sum(actor.cpu_times()[:2]) - spent) / (time.monotonic() - began)
        assert sorted(took)[-2] < 1.0, sorted(took)[-5:]
        assert share < 0.7, "consoles may take a quarter of the actor's time"
        assert actor.memory_info().rss < memory + 8 * 1024 * 1024
        assert all(len(viewer.seen) > 10_000 for viewer in loud[:2])
