"""What a process can tell about itself."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import threading

import pytest

from bus.actor import introspection
from bus.actor.introspection import Inspector, memory, stacks
from bus.actor.profiling import MAX_ENTRIES, entries
from bus.errors import ConflictError, UnknownTypeError
from bus.logs.log_format import Line
from bus.logs.log_sinks import Ring
from bus.messages import debug as msg
from bus.messages.base import Ack


class Marked:
    """Objects that are easily found."""


async def deep_inside(event: asyncio.Event) -> None:
    """Waits."""
    await event.wait()


async def further_out(event: asyncio.Event) -> None:
    """Waits for what waits."""
    await deep_inside(event)


async def test_runtime() -> None:
    info = Inspector("vm", Ring()).answer(msg.GetRuntime())
    assert isinstance(info, msg.RuntimeInfo)
    assert (info.actor, info.pid, info.python) == ("vm", os.getpid(), platform.python_version())
    assert info.threads >= 1
    assert info.tasks >= 1
    assert min(info.uptime_s, info.cpu_s, info.objects, info.rss_bytes, info.fds) > 0


async def test_the_stack_of_a_task_goes_down_to_what_it_waits_for() -> None:
    event = asyncio.Event()
    tasks = [asyncio.get_running_loop().create_task(further_out(event), name=f"waits {number}") for number in range(3)]
    await asyncio.sleep(0)
    text = stacks()
    assert text.count("in further_out") == 1, "equal stacks are shown once"
    assert "and 2 more\n" in text
    assert text.index("in further_out") < text.index("in deep_inside")
    assert "await event.wait()" in text
    event.set()
    await asyncio.gather(*tasks)


async def test_threads_have_their_stacks() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        begun.set()
        let_go.wait()

    thread = threading.Thread(target=wait_for_it, name="the waiting one")
    thread.start()
    begun.wait()
    text = stacks()
    let_go.set()
    thread.join()
    assert "thread the waiting one\n" in text
    assert "in wait_for_it" in text
    assert "thread MainThread\n" in text


async def test_stacks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "MAX_STACKS", 100)
    assert len(stacks()) < 130
    assert stacks().endswith("(cut off here)\n")


def test_memory_names_the_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "LOOK_S", 60.0)  # the process of the tests has many objects
    kept = [Marked() for _ in range(12_345)]
    big = {"text": "x" * 5_000_000, "kept": kept}
    found = memory()
    by_name = {use.name: use for use in found.types}
    assert by_name[f"{Marked.__module__}.Marked"].count == 12_345
    assert by_name["str"].size_bytes > len(big["text"])
    assert [use.size_bytes for use in found.types] == sorted((use.size_bytes for use in found.types), reverse=True)
    assert found.rss_bytes >= found.pss_bytes > 0
    assert found.private_bytes > 0


def test_memory_stops_looking_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "LOOK_S", -1.0)
    assert memory().partial


async def test_records_of_the_ring() -> None:
    ring = Ring()
    ring.resize(5)
    ring.add(Line(1.0, "info", "vm", "a.py:1: x"))
    reply = Inspector("vm", ring).answer(msg.GetLogLines())
    assert reply == msg.LogLines(lines=(msg.LogLine(time_s=1.0, level="info", actor="vm", text="a.py:1: x"),))


def busy() -> int:
    """Calls something."""
    return sum(len(gc.get_referents(number)) for number in range(1000))


def test_a_profile_from_start_to_stop() -> None:
    inspector = Inspector("vm", Ring())
    with pytest.raises(ConflictError, match=r"^CPU profile not running$"):
        inspector.answer(msg.StopProfile())
    assert inspector.answer(msg.StartProfile(file="/f")) == Ack()
    with pytest.raises(ConflictError, match=r"^CPU profile still running$"):
        inspector.answer(msg.StartProfile(file="/g"))
    busy()
    profile = inspector.answer(msg.StopProfile())
    assert isinstance(profile, msg.Profile)
    assert profile.file == "/f"
    by_name = {entry.function: entry for entry in profile.entries}
    assert (by_name["busy"].calls, by_name["busy"].file) == (1, __file__)
    summed = by_name["<built-in method builtins.sum>"]
    assert [profile.entries[caller.entry].function for caller in summed.callers] == ["busy"]
    with pytest.raises(ConflictError, match="not running"):
        inspector.answer(msg.StopProfile())


def test_a_profile_is_bounded() -> None:
    stats = {
        (f"f{number}", 1, "f"): (1, 1, 0.1, float(number), {("f0", 1, "f"): (1, 1, 0.1, 0.1)}) for number in range(5000)
    }
    found = entries(stats)
    assert len(found) == MAX_ENTRIES
    assert found[0].file == "f4999"
    assert found[0].callers == (), "its caller is not among the dearest"


async def test_what_nobody_can_tell() -> None:
    class GetSecret(msg.Inspection[Ack], frozen=True, kw_only=True, tag="test.secret"):
        """No process knows this."""

    with pytest.raises(UnknownTypeError):
        Inspector("vm", Ring()).answer(GetSecret())
