"""`debug` and `args`."""

from __future__ import annotations

import pstats
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConflictError, DeadlineError
from bus.messages.base import Ack, Message
from bus.messages.control import ActorList, ActorStatus, GetActors
from bus.messages.debug import (
    Flags,
    GetFlags,
    GetMemory,
    GetRuntime,
    GetStacks,
    MemoryUse,
    Profile,
    ProfileCaller,
    ProfileEntry,
    RuntimeInfo,
    Stacks,
    StartProfile,
    StopProfile,
    TypeUse,
)
from bus.processes import Figures
from cli.commands.host.debugging import COLUMNS, memory_part, pstats_table, runtime_row
from cli.commands.host.inspection import Found
from tests.unit.cli.stand_ins import Asked, EngineBench

NO_PID = 2**22 + 1
"""More than the kernel gives (proc(5), pid_max)."""
NAMES = ("node", "vm", "cli")
ACTORS = ActorList(
    actors=tuple(ActorStatus(actor=name, pid=NO_PID + number, state="running") for number, name in enumerate(NAMES))
)
MIB = 1024 * 1024


def bench(files_dir: Path, reactions: dict[type[Message], Any] | None = None) -> EngineBench:
    """An engine on a node with three processes."""
    known: dict[type[Message], Any] = {GetActors: ACTORS}
    return EngineBench({**known, **(reactions or {})}, files_dir=files_dir)


def only_vm(reply: Message) -> Any:
    """A reaction: `vm` says this, others nothing."""

    def react(asked: Asked) -> Message:
        if asked.to == "vm":
            return reply
        raise DeadlineError(f"no answer from {asked.to} within 3 s")

    return react


def runtime(actor: str) -> RuntimeInfo:
    """Figures."""
    return RuntimeInfo(
        actor=actor, pid=7, python="3.11.2", uptime_s=61.5, cpu_s=0.25, threads=2, tasks=5, objects=900,
        rss_bytes=3 * MIB // 2, fds=20,
    )  # fmt: skip


def profile(file: Path, *functions: str) -> Profile:
    """A profile in which each function is called by the first."""
    caller = ProfileCaller(entry=0, calls=2, primitive_calls=1, own_s=0.5, total_s=1.0)
    entries = [
        ProfileEntry(
            file="/x/actor.py", line=number, function=name, calls=2, primitive_calls=1, own_s=0.5, total_s=1.0,
            callers=(caller,) if number else (),
        )
        for number, name in enumerate(functions)
    ]  # fmt: skip
    return Profile(file=str(file), entries=tuple(entries))


# --- the table


@pytest.mark.parametrize(
    ("reply", "outside", "row"),
    [
        (runtime("vm"), None, ("vm", "7", "3.11.2", "1m1.5s", "250ms", "2", "5", "900", "1.5", "20")),
        (
            "no answer",
            Figures(uptime_s=2.0, cpu_s=1.0, threads=1, rss_bytes=MIB, fds=3),
            ("vm", "7", "N/A", "2s", "1s", "1", "N/A", "N/A", "1.0", "3"),
        ),
        ("no answer", None, ("vm", "7", *["N/A"] * 8)),
    ],
)
def test_a_row(reply: Message | str, outside: Figures | None, row: tuple[str, ...]) -> None:
    assert runtime_row(Found(ActorStatus(actor="vm", pid=7, state="running"), reply), outside) == row


async def test_every_process_has_a_row(tmp_path: Path) -> None:
    response = await bench(tmp_path, {GetRuntime: only_vm(runtime("vm"))}).one("debug")
    assert response.header == COLUMNS
    assert [row[0] for row in response.rows or ()] == ["node", "vm", "cli"]
    assert [row[2] for row in response.rows or ()] == ["N/A", "3.11.2", "N/A"]


# --- reports


async def test_the_report_about_memory(tmp_path: Path) -> None:
    use = MemoryUse(
        rss_bytes=4 * MIB, pss_bytes=2 * MIB, private_bytes=MIB,
        types=(TypeUse(name="dict", count=12, size_bytes=3456),), partial=True,
    )  # fmt: skip
    assert await bench(tmp_path, {GetMemory: only_vm(use)}).text("debug memory report") == ""
    text = (tmp_path / "report").read_text()
    assert text.startswith("Memory of the processes of minibus on n1, ")
    assert f"=== vm (pid {NO_PID + 1})\nrss 4.0 MiB, pss 2.0 MiB, private 1.0 MiB\n" in text
    assert "\n        3456         12  dict\n(there was no time to look at all objects)\n" in text
    assert f"=== cli (pid {NO_PID + 2})\n(no more: no answer from cli within 3 s)\n" in text


def test_memory_of_a_process_that_does_not_answer() -> None:
    found = Found(ActorStatus(actor="vm", pid=7, state="running"), "no answer")
    outside = Figures(uptime_s=1, cpu_s=1, threads=1, rss_bytes=MIB, fds=1, pss_bytes=MIB, private_bytes=0)
    assert memory_part(found, outside) == (
        "=== vm (pid 7)\nrss 1.0 MiB, pss 1.0 MiB, private 0.0 MiB\n(no more: no answer)"
    )


async def test_the_report_about_stacks(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    tried = bench(Path("/nowhere"), {GetStacks: only_vm(Stacks(text="thread MainThread\n  here\n"))})
    assert await tried.text(f"debug goroutine {path}") == ""
    assert f"=== vm (pid {NO_PID + 1})\nthread MainThread\n  here\n\n=== cli" in path.read_text()


@pytest.mark.parametrize("command", ["debug memory", "debug goroutine", "debug cpu start"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none/x", "open {files}/none/x: no such file or directory"),
        ("dir", "open {files}/dir: is a directory"),
        ('""', "the name of the file is empty or has a NUL character in it"),
        ("x" * 300, "open {files}/" + "x" * 300 + ": file name too long"),
        ("file/x", "open {files}/file/x: not a directory"),
        ("loop", "open {files}/loop: too many levels of symbolic links"),
    ],
)
async def test_files_that_cannot_be_are_refused_before_anybody_is_asked(
    tmp_path: Path, command: str, name: str, sentence: str
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    tried = bench(tmp_path)
    assert await tried.error(f"{command} {name}") == sentence.format(files=tmp_path)
    assert tried.bus.asked == []
    assert sorted(tmp_path.iterdir()) == before


# --- CPU profile


def test_what_pstats_reads(tmp_path: Path) -> None:
    table = pstats_table([("vm", profile(tmp_path, "main", "work")), ("cli", profile(tmp_path, "main"))])
    assert table == {
        ("vm:/x/actor.py", 0, "main"): (1, 2, 0.5, 1.0, {}),
        ("vm:/x/actor.py", 1, "work"): (1, 2, 0.5, 1.0, {("vm:/x/actor.py", 0, "main"): (2, 1, 0.5, 1.0)}),
        ("cli:/x/actor.py", 0, "main"): (1, 2, 0.5, 1.0, {}),
    }


async def test_from_start_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "profile"
    tried = bench(tmp_path, {StartProfile: only_vm(Ack()), StopProfile: only_vm(profile(path, "main", "work"))})
    assert await tried.text("debug cpu start profile") == "without cli: no answer from cli within 3 s"
    assert not path.exists()
    assert [asked.request for asked in tried.bus.asked if asked.to == "vm"] == [StartProfile(file=str(path))]
    assert await tried.text("debug cpu stop") == "without cli: no answer from cli within 3 s"
    stats = pstats.Stats(str(path))
    assert stats.total_calls == 4  # type: ignore[attr-defined]


async def test_a_second_start_is_refused_and_undone_where_it_worked(tmp_path: Path) -> None:
    def start(asked: Asked) -> Message:
        if asked.to == "vm":
            raise ConflictError("CPU profile still running")
        return Ack()

    tried = bench(tmp_path, {StartProfile: start, StopProfile: profile(tmp_path / "x", "main")})
    assert await tried.error("debug cpu start x") == "CPU profile still running"
    assert [asked.to for asked in tried.bus.asked if isinstance(asked.request, StopProfile)] == ["cli"]
    assert list(tmp_path.iterdir()) == []


async def test_a_stop_without_start_is_refused(tmp_path: Path) -> None:
    tried = bench(tmp_path, {StopProfile: ConflictError("CPU profile not running")})
    assert await tried.error("debug cpu stop") == "CPU profile not running"


async def test_who_was_started_meanwhile_is_named(tmp_path: Path) -> None:
    def stop(asked: Asked) -> Message:
        if asked.to == "cli":
            raise ConflictError("CPU profile not running")
        return profile(tmp_path / "x", "main")

    tried = bench(tmp_path, {StopProfile: stop})
    assert await tried.text("debug cpu stop") == "without cli: it was started meanwhile"
    assert (tmp_path / "x").exists()


# --- flags


async def test_args(tmp_path: Path) -> None:
    response = await bench(tmp_path, {GetFlags: Flags(flags={"level": "info", "base": "/b"})}).one("args")
    assert (response.header, response.rows) == (("name", "value"), [("base", "/b"), ("level", "info")])
