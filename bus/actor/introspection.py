"""What a process can tell about itself. Loaded when the first `Inspection` comes; answered by actors and the broker."""

from __future__ import annotations

import asyncio
import collections
import gc
import os
import platform
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterable, Iterator
from typing import Any

from bus.actor.input_report import input_list
from bus.actor.inputs import Inputs
from bus.actor.profiling import Profiler
from bus.errors import ConflictError, UnavailableError, UnknownTypeError
from bus.logs.log_sinks import Ring
from bus.messages import debug as msg
from bus.messages.base import Ack, Message
from bus.processes import figures

INSPECTIONS = tuple(str(klass.__struct_config__.tag) for klass in msg.Inspection.__subclasses__())
MAX_TYPES = 100
LOOK_S = 0.5
"""How long objects are looked at: an actor that does it does nothing else meanwhile."""
LOOK_OBJECTS = 1000
"""Objects between two looks at the clock."""
MAX_STACKS = 1024 * 1024
"""Characters."""
MAX_DEPTH = 100


class Inspector:
    """Answers for one process."""

    def __init__(self, actor: str, ring: Ring, inputs: Inputs | None = None, understood: Iterable[str] = ()) -> None:
        self._actor = actor
        self._ring = ring
        self._inputs = inputs or Inputs()
        self._understood = understood
        self._profiler: Profiler | None = None

    def answer(self, request: msg.Inspection[Any]) -> Message:
        """The reply; raises BusError."""
        match request:
            case msg.GetLogLines():
                return msg.LogLines(lines=tuple(msg.LogLine(**line._asdict()) for _, line in self._ring.after()))
            case msg.GetInputs(after=after, also=also):
                return input_list(self._actor, self._inputs, after, also)
            case msg.GetUnderstood():
                return msg.Understood(types=tuple(sorted({*self._understood, *INSPECTIONS})))
            case msg.GetRuntime():
                return runtime(self._actor)
            case msg.GetStacks():
                return msg.Stacks(text=stacks())
            case msg.GetMemory():
                return memory()
            case msg.StartProfile(file=file):
                if self._profiler is not None:
                    raise ConflictError("CPU profile still running")
                self._profiler = Profiler(file)
                return Ack()
            case msg.StopProfile():
                profiler, self._profiler = self._profiler, None
                if profiler is None:
                    raise ConflictError("CPU profile not running")
                return profiler.stop()
            case _:
                raise UnknownTypeError(f"{self._actor} cannot tell that about itself")


def runtime(actor: str) -> msg.RuntimeInfo:
    """Figures about this process; raises UnavailableError."""
    outside = figures(os.getpid())
    if outside is None:
        raise UnavailableError("the kernel tells nothing about this process: is /proc mounted?")
    return msg.RuntimeInfo(
        actor=actor,
        pid=os.getpid(),
        python=platform.python_version(),
        uptime_s=outside.uptime_s,
        cpu_s=outside.cpu_s,
        threads=outside.threads,
        tasks=len(asyncio.all_tasks()),
        objects=len(gc.get_objects()),
        rss_bytes=outside.rss_bytes,
        fds=outside.fds,
    )


# --- memory


def memory() -> msg.MemoryUse:
    """What fills this process. Strings and bytes count if an object that the collector knows refers to them."""
    outside = figures(os.getpid(), with_pss=True)
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    until_s = time.monotonic() + LOOK_S
    partial = False
    for number, one in enumerate(_objects()):
        if number % LOOK_OBJECTS == 0 and time.monotonic() > until_s:
            partial = True
            break
        name = f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.")
        counts[name] += 1
        sizes[name] += _size(one)
    found = [msg.TypeUse(name=name, count=counts[name], size_bytes=size) for name, size in sizes.most_common(MAX_TYPES)]
    return msg.MemoryUse(
        rss_bytes=outside.rss_bytes if outside else 0,
        pss_bytes=outside.pss_bytes if outside else 0,
        private_bytes=outside.private_bytes if outside else 0,
        types=tuple(found),
        partial=partial,
    )


def _objects() -> Iterator[Any]:
    seen: set[int] = set()
    for one in gc.get_objects():
        yield one
        for part in gc.get_referents(one):
            if not gc.is_tracked(part) and not isinstance(part, type) and id(part) not in seen:
                seen.add(id(part))
                yield part


def _size(one: object) -> int:
    try:
        return sys.getsizeof(one)
    except Exception:
        return 0  # an object whose own __sizeof__ is broken


# --- stacks


def stacks() -> str:
    """Where all threads and tasks are; equal ones are counted and shown once."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    groups: dict[str, list[str]] = {}
    for ident, frame in sys._current_frames().items():
        groups.setdefault("".join(traceback.format_stack(frame)), []).append(f"thread {names.get(ident, ident)}")
    for task in asyncio.all_tasks():
        groups.setdefault(_task_stack(task), []).append(f"task {task.get_name()[:100]}")
    text = "\n".join(f"{_heading(names)}\n{stack}" for stack, names in groups.items())
    return text if len(text) <= MAX_STACKS else f"{text[:MAX_STACKS]}\n(cut off here)\n"


def _heading(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _task_stack(task: asyncio.Task[Any]) -> str:
    """From the coroutine of the task down to what it waits for; `Task.get_stack` gives the first of them only."""
    frames: list[types.FrameType] = []
    waiting: Any = task.get_coro()
    while waiting is not None and len(frames) < MAX_DEPTH:
        frame = next((found for name in _FRAMES if (found := getattr(waiting, name, None)) is not None), None)
        if frame is not None:
            frames.append(frame)
        waiting = next((found for name in _AWAITED if (found := getattr(waiting, name, None)) is not None), None)
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format()) or "  (has not begun, or waits in code that is not Python)\n"


_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
"""Of coroutines, generators and asynchronous generators (inspect, types and members)."""
