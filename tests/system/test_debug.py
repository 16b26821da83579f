"""`debug` and `args` through the product."""

from __future__ import annotations

import os
import pstats
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import ACTORS, PROCESSES, Console, Product


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection."""
    with shared.console() as console:
        yield console


@pytest.fixture
def stopped(shared: Product) -> Iterator[str]:
    """An actor that hangs; afterwards it has been replaced."""
    shared.everything_answers()
    pid = shared.kill("scheduler", signal.SIGSTOP)
    yield "scheduler"
    if shared.pid("scheduler") == pid:
        os.kill(pid, signal.SIGKILL)
    shared.replaced("scheduler", pid, 15.0)
    shared.everything_answers()


def test_a_row_for_every_process(console: Console, shared: Product) -> None:
    shared.everything_answers()
    rows = {row["actor"]: row for row in console.rows("debug")}
    assert set(rows) == set(PROCESSES)
    assert {name: int(row["pid"]) for name, row in rows.items()} == {name: shared.pid(name) for name in PROCESSES}
    for name, row in rows.items():
        assert min(int(row["threads"]), int(row["fds"])) > 0
        assert float(row["rss"]) > 5
        assert (row["tasks"] == "N/A") == (name in ("node", "warden"))
        assert (row["python"] == "N/A") == (name in ("node", "warden"))


def test_a_hung_process_is_seen_from_outside_and_holds_nobody_up(
    console: Console, shared: Product, stopped: str, tmp_path: Path
) -> None:
    begun = time.monotonic()
    console.ok(f"debug goroutine {tmp_path / 'stacks'}")
    assert time.monotonic() - begun < 4.5
    text = (tmp_path / "stacks").read_text()
    part = text[text.index(f"=== {stopped} (pid ") :].split("\n=== ")[0]
    assert f"(no answer from {stopped}" in part
    assert "state T" in part


def test_stacks_of_every_process(console: Console, shared: Product) -> None:
    console.ok("debug goroutine stacks")
    path = shared.base / "files" / "stacks"
    text = path.read_text()
    path.unlink()
    for name in PROCESSES:
        assert f"\n=== {name} (pid {shared.pid(name)})\n" in text
    assert text.count("thread MainThread\n") == len(ACTORS) + 1
    assert "in _send_stats" in text
    assert "state S, waits in" in text


def test_memory_of_every_process(console: Console, tmp_path: Path) -> None:
    console.ok(f"debug memory {tmp_path / 'memory'}")
    text = (tmp_path / "memory").read_text()
    assert text.count("\nrss ") == len(PROCESSES)
    assert text.count("largest types first:") == len(ACTORS) + 1
    assert text.count("  dict\n") == len(ACTORS) + 1


def test_a_cpu_profile_that_pstats_reads(console: Console, shared: Product) -> None:
    path = shared.base / "files" / "profile"
    assert console.error("debug cpu stop") == "CPU profile not running"
    assert console.ok("debug cpu start profile") == ""
    assert console.error("debug cpu start other") == "CPU profile still running"
    for _ in range(20):
        console.ok("vm info")
    assert console.ok("debug cpu stop") == ""
    assert console.error("debug cpu stop") == "CPU profile not running"
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    path.unlink()
    calls = {(file.partition(":")[0], name): entry[1] for (file, _, name), entry in stats.items()}
    assert calls["vm", "take"] >= 20
    assert calls["broker", "_take_request"] >= 20
    assert {file.partition(":")[0] for file, _, _ in stats} == {"broker", *ACTORS}
    assert not (path.parent / "other").exists()


def test_a_restarted_command_server_can_still_end_the_profile(
    console: Console, shared: Product, tmp_path: Path
) -> None:
    console.ok(f"debug cpu start {tmp_path / 'profile'}")
    old = shared.kill("cli")
    shared.replaced("cli", old)
    shared.everything_answers()
    with shared.console() as other:
        assert other.error("debug cpu start x") == "CPU profile still running"
        assert other.ok("debug cpu stop") == "without cli: it was started meanwhile"
    assert pstats.Stats(str(tmp_path / "profile")).total_calls > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["debug memory", "debug goroutine", "debug cpu start"])
def test_a_file_that_cannot_be_written_is_refused_at_once(console: Console, shared: Product, command: str) -> None:
    files = shared.base / "files"
    before = sorted(files.iterdir())
    assert console.error(f"{command} no/such") == f"open {files}/no/such: no such file or directory"
    assert console.error(f"{command} {files}") == f"open {files}: is a directory"
    assert console.error("debug cpu stop") == "CPU profile not running"
    assert sorted(files.iterdir()) == before


def test_args(console: Console, shared: Product) -> None:
    flags = {row["name"]: row["value"] for row in console.rows("args")}
    wanted = {"base": str(shared.base), "filepath": f"{shared.base}/files", "level": "info", "durable": "false"}
    assert {name: flags[name] for name in wanted} == wanted
