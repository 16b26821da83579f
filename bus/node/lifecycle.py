"""The life of one process of ours: lock, loop, control lane, signals, tasks, exit status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bus import descriptors
from bus.actor.inputs import Inputs
from bus.actor.vitals import Vitals
from bus.errors import BusError, InvalidError
from bus.lock import MOMENT_S, FileLock, holder
from bus.logs.log_settings import from_environment
from bus.logs.logs import OUTLET, Log
from bus.messages.base import Message
from bus.messages.debug import Inspection
from bus.node import notify
from bus.node.control import MAX_WORDS, ControlLane, send
from bus.paths import Context, context

if TYPE_CHECKING:
    from bus.actor.introspection import Inspector

EXIT_OK = 0
EXIT_REFUSED = 1
"""It cannot run here, and the last line on stderr says why: restarting does not help."""
EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h: a broken invariant."""
STOP_GRACE_S = 5.0
BROKER_LOOK_S = 0.1
PREDECESSOR_S = STOP_GRACE_S + 2.0
"""How long a child of a node waits for the lock: that of a node which was killed may still be ending."""


class StoppedEarlyError(Exception):
    """Told to stop before it had started."""


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Process:
    """Base of the broker and of every actor."""

    kind: ClassVar[str]
    needs_broker: ClassVar[bool] = False
    """Whether it can start only when the broker is there."""

    def __init__(self, context: Context, lane_socket: socket.socket | None) -> None:
        self.context = context
        self.phase = Phase.STARTING
        self.log = Log(self.kind)
        self.exit_status = EXIT_OK
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.lane = ControlLane(
            lane_socket,
            on_drain=self.begin_stop,
            on_stop=self.begin_stop,
            inbox=self.inbox,
            on_event=self.on_node_event,
            log=self.log,
        )
        self.inputs = Inputs()
        self.vitals = Vitals(self.kind, self.inputs, self.inbox)
        self._inspector: Inspector | None = None

    async def start(self) -> None:
        """Become able to serve."""

    async def stop(self) -> None:
        """Finish; called once, after the last request was taken."""

    def on_node_event(self, packet: dict[str, Any]) -> None:
        """The node tells of its children (only the broker is told), or of orphans it has reaped (`host`)."""

    def inbox(self) -> int:
        """Requests received and not yet answered."""
        return 0

    def understood(self) -> list[str]:
        """Types of the requests that it answers, besides inspections."""
        return []

    def inspect(self, request: Inspection[Any]) -> Message:
        """Answer a question about this process; raises BusError."""
        if self._inspector is None:
            from bus.actor.introspection import Inspector  # few processes are ever asked

            self._inspector = Inspector(self.kind, self.log.outlet.ring, self.inputs, self.understood())
        return self._inspector.answer(request)

    def begin_stop(self, exit_status: int = EXIT_OK) -> None:
        """Drain and end; the first status that is not 0 wins."""
        self.exit_status = self.exit_status or exit_status
        self._stopping.set()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run work beside the loop; its exceptions are logged, and it is cancelled when the process stops."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.exception("task_failed", error, task=task.get_name())

    async def _wait_for_broker(self) -> None:
        """Without a node nobody has seen to it that the broker is there first. Raises StoppedEarlyError."""
        lock = self.context.paths.run / "broker.lock"
        is_new = True
        while not self.lane.present and not holder(lock):
            if is_new:
                self.log.info("waits_for_broker", base=str(self.context.base))
            is_new = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BROKER_LOOK_S):
                    await self._stopping.wait()
                    raise StoppedEarlyError

    def check_settings(self) -> None:
        """Raise a BusError if this process can never run as it was told; before it waits for anybody."""

    async def run(self) -> int:
        """From start to stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        notifier = notify.take()  # of a service manager; a node has taken it away from its children
        try:
            self.check_settings()
            if self.needs_broker:
                await self._wait_for_broker()
            await self.start()
        except StoppedEarlyError:
            return self.exit_status
        self.phase = Phase.RUNNING
        self.lane.ready()
        notifier.ready()
        if notifier.watchdog_s:
            self.spawn(_keep_alive(notifier), name="watchdog")
        await self._stopping.wait()
        notifier.stopping()
        self.phase = Phase.DRAINING
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop(), STOP_GRACE_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.phase = Phase.STOPPED
        self.lane.close()
        return self.exit_status

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            os._exit(EXIT_OK)  # the second signal means now; everything that matters is in the journal
        self.begin_stop()


async def _keep_alive(notifier: notify.Notifier) -> None:
    while True:
        notifier.alive()
        await asyncio.sleep(notifier.watchdog_s / 3)


def run_process(process: type[Process], base: Path, lane_socket: socket.socket | None) -> int:
    """Run one process of a base directory under its lock; returns the exit status.

    Why it cannot run is said in one sentence, on stderr and to the node.
    """
    try:
        where = context(base)
        if lane_socket is None:
            _log_as_told()
            descriptors.raise_limit()  # otherwise the node has done it
        wait_s = MOMENT_S if lane_socket is None else PREDECESSOR_S
        lock = FileLock(where.paths.run / f"{process.kind}.lock", process.kind, wait_s=wait_s)
    except (BusError, OSError) as error:
        return _refuse(process, lane_socket, error)

    async def main() -> int:
        return await process(where, lane_socket).run()

    try:
        return asyncio.run(main())
    except (BusError, OSError) as error:
        return _refuse(process, lane_socket, error)
    except Exception as error:
        Log(process.kind).exception("crashed", error)
        _say(lane_socket, "last_words", f"{type(error).__name__}: {error}"[:MAX_WORDS])
        return EXIT_BUG
    finally:
        lock.release()


def _log_as_told() -> None:
    """Without a node, this process is the one to look at what the environment says about logs; raises InvalidError."""
    try:
        OUTLET.configure(from_environment(os.environ))
    except ValueError as error:
        raise InvalidError(str(error)) from error


def _refuse(process: type[Process], lane_socket: socket.socket | None, error: Exception) -> int:
    message = f"{process.kind}: {error}"
    sys.stderr.write(f"minibus {message}\n")
    _say(lane_socket, "refused", message)
    return EXIT_REFUSED


def _say(lane_socket: socket.socket | None, what: str, message: str) -> None:
    if lane_socket is not None and lane_socket.fileno() >= 0:
        send(lane_socket, {"type": what, "message": message})
