"""Builds containers: a queue, a few set-ups at a time, each watched until it waits frozen at its gate."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from shims.cgroups.cgroup import Cgroups
from shims.container.cloner_link import ClonerLink
from shims.container.freezing import FreezeWatch
from shims.container.journal import AnyRecord, Cloned, Intent
from shims.container.loop import Loop, Timer
from shims.container.protocol import ContainerSpec
from shims.container.record import Container, Phase
from shims.container.setup.advice import advised
from shims.container.setup.build import FAILED, PREINIT_STARTED, READY
from shims.container.setup.plan import Planner, RefusedError, limits_of
from shims.container.setup.steps import script_of
from shims.linux import process

AT_ONCE: Final = 8
"""Set-ups under way: enough that one which waits for the kernel does not hold up the processors."""

CLONE_TIMEOUT_S: Final = 10.0
"""A clone takes milliseconds, but the cloner may have to be started, on a machine with much else to do."""

READY_TIMEOUT_S: Final = 30.0
_READ_BYTES: Final = 65536


class Owner(Protocol):
    """Who is told what becomes of a container."""

    def built(self, container: Container) -> None:
        """It waits, frozen, at its gate."""

    def failed(self, container: Container) -> None:
        """It never had a process; `container.failure` says why."""

    def executed(self, container: Container) -> None:
        """Its init has been executed, or has not if `container.failure` says so."""

    def end_process(self, container: Container) -> None:
        """Its process is to be ended."""

    def exited(self, container: Container) -> None:
        """Its pidfd says that the process has ended."""


class Builder:
    """See the module. Every container added ends in one call of `built` or `failed`, or in `exited` before that."""

    def __init__(
        self,
        loop: Loop,
        owner: Owner,
        write: Callable[[AnyRecord], None],
        cgroups_of: Callable[[str], Cgroups],
        planner: Callable[[], Planner],
        cloner: Callable[[Callable[[Container, int, int], None]], ClonerLink],
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._write = write
        self._cgroups_of = cgroups_of
        self._planner = planner
        self._cloner = cloner(self._cloned)
        self._queue: deque[Container] = deque()
        self._under_way: dict[Container, Timer] = {}

    @property
    def queued(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    def add(self, container: Container) -> None:
        """Build `container` when its turn comes."""
        self._queue.append(container)
        self._pump()

    def cancel(self, container: Container) -> None:
        """Take a queued container out of the queue."""
        self._queue.remove(container)

    def release(self, container: Container) -> None:
        """Its set-up is over, one way or the other; harmless when repeated."""
        timer = self._under_way.pop(container, None)
        if timer is not None:
            timer.cancel()
            self._pump()

    def close(self, container: Container) -> None:
        """Close the pipes of the set-up."""
        if container.report >= 0:
            self._loop.unwatch(container.report)
        container.close_gate()

    def _pump(self) -> None:
        while self._queue and len(self._under_way) < AT_ONCE:
            self._begin(self._queue.popleft())

    def _begin(self, container: Container) -> None:
        spec, container.spec = container.spec, None
        if spec is None:
            raise ValueError("a container without a spec cannot be built")
        try:
            self._hand_over(container, spec)
        except RefusedError as error:
            container.failure = str(error)
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else "system call"
            container.failure = advised(f"start container: {where}: {error.strerror}", where, error.errno)
        else:
            return
        self._call_off(container)

    def _hand_over(self, container: Container, spec: ContainerSpec) -> None:
        """Do all that can be done without the process, and have it cloned."""
        self._write(Intent(guest_id=container.guest_id, tag=container.tag))
        cgroups = self._cgroups_of(container.tag)
        cgroups.prepare()
        procs_files = cgroups.create(container.name, limits_of(spec))
        container.console, slave = process.open_pty()
        planner = self._planner()
        plan = planner.plan(
            spec,
            console=slave,
            procs_files=procs_files,
            warnings=cgroups.warnings,
            has_device_rules=cgroups.has("devices"),
        )
        with contextlib.ExitStack() as theirs:
            container.report, report_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            theirs.callback(os.close, report_in)
            gate_out, container.gate = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, gate_out)
            self._cloner.clone(container, script_of(plan), report_in, gate_out, guarded=plan.user_namespace)
        container.phase = Phase.CLONING
        self._wait_for(container, CLONE_TIMEOUT_S)

    def _wait_for(self, container: Container, timeout_s: float) -> None:
        if (earlier := self._under_way.get(container)) is not None:
            earlier.cancel()
        self._under_way[container] = self._loop.call_later(timeout_s, lambda: self._give_up(container))

    def _cloned(self, container: Container, pid: int, number: int) -> None:
        """The cloner has answered."""
        if pid == 0:
            why = "the process that clones containers has died" if number == errno.EPIPE else os.strerror(number)
            container.failure = container.failure or advised(f"start container: clone: {why}", "clone", number)
            self.release(container)
            self._call_off(container)
            return
        try:
            container.pidfd = os.pidfd_open(pid)
            container.start_ticks = process.start_ticks(pid)
        except OSError as error:  # no descriptor is left
            self._undo_clone(container, pid, error)
            return
        container.phase = Phase.BUILDING
        container.pid = pid
        self._wait_for(container, READY_TIMEOUT_S)
        self._loop.watch(container.report, lambda _: self.read_report(container))
        self._loop.watch(container.pidfd, lambda _: self._owner.exited(container))
        with contextlib.suppress(OSError):  # a full disk: a later warden would end it as never built
            self._write(Cloned(guest_id=container.guest_id, pid=pid, start_ticks=container.start_ticks))
        if container.failure:  # given up while it was being cloned
            self._owner.end_process(container)

    def _undo_clone(self, container: Container, pid: int, error: OSError) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if container.pidfd >= 0:
            os.close(container.pidfd)
            container.pidfd = -1
        said = advised(f"start container: system call: {error.strerror}", "", error.errno)
        container.failure = container.failure or said
        self.release(container)
        self._call_off(container)

    def _call_off(self, container: Container) -> None:
        with contextlib.suppress(OSError):
            self._cgroups_of(container.tag).remove(container.name)
        container.close_gate()
        self._owner.failed(container)

    def _give_up(self, container: Container) -> None:
        if container.phase is Phase.CLONING:
            self._cloner.kill()  # it hangs; its end fails every container that it has, and a new one is started
            return
        doing = ": its preinit is still running" if container.in_preinit else ""
        self.abandon(container, f"container {container.name} was not ready within {READY_TIMEOUT_S:.0f} s{doing}")

    def abandon(self, container: Container, failure: str) -> None:
        """End the set-up with this reason; `Owner.exited` comes when the process is gone."""
        container.failure = container.failure or failure
        self._owner.end_process(container)

    def read_report(self, container: Container) -> None:
        """Take in what the set-up says; also to be called when its process has ended, for its last words."""
        if container.report < 0:
            return
        try:
            data = os.read(container.report, _READ_BYTES)
        except BlockingIOError:
            return
        while data[:1] == PREINIT_STARTED:
            container.in_preinit, data = True, data[1:]
            if not data:
                return
        kind, text = data[:1], data[1:].decode("utf-8", "replace")
        if not kind:
            self._at_end(container)
        elif kind == FAILED:
            container.failure = container.failure or text
        elif kind == READY and container.phase is Phase.BUILDING and not container.failure:
            container.in_preinit = False
            container.warnings = tuple(line for line in text.split("\n") if line)
            self._settle(container)

    def _at_end(self, container: Container) -> None:
        self.close(container)
        if container.phase is Phase.STARTING:
            self._owner.executed(container)

    def _settle(self, container: Container) -> None:
        container.phase = Phase.SETTLING
        try:
            watch = FreezeWatch(
                self._loop,
                self._cgroups_of(container.tag),
                container.name,
                lambda problem: self._settled(container, problem),
            )
        except OSError as error:
            self.abandon(container, f"freezer: {error.filename}: {error.strerror}")
            return
        watch.look()

    def _settled(self, container: Container, problem: str) -> None:
        if container.phase is not Phase.SETTLING or container.failure:
            return
        if problem:
            self.abandon(container, problem)
            return
        container.phase = Phase.WAITING
        self._owner.built(container)
        self.release(container)
