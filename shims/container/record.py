"""What the warden knows of one container, and who waits for what of it."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shims.container.connection import Connection
from shims.container.journal import Ended, Past
from shims.container.protocol import AnyAnswer, ContainerSpec, ContainerStatus, Done, Refused


class Phase(enum.Enum):
    """Where a container is in its life."""

    QUEUED = enum.auto()
    """Waits for a place among those being built."""
    CLONING = enum.auto()
    """Handed to the cloner; its pid is not known yet."""
    BUILDING = enum.auto()
    """Its process works through the steps of the set-up."""
    SETTLING = enum.auto()
    """All steps are done; it is being frozen."""
    WAITING = enum.auto()
    """Frozen at the gate, its init not executed."""
    STARTING = enum.auto()
    """Thawed and let through the gate; the exec has not been seen yet."""
    RUNNING = enum.auto()
    PAUSING = enum.auto()
    """Asked to freeze; not every process has stopped yet."""
    FROZEN = enum.auto()
    ENDING = enum.auto()
    """The process is gone; its status or the removal of its cgroups is still waited for."""
    EXITED = enum.auto()
    """Nothing is left but the record."""

    @property
    def is_living(self) -> bool:
        """True as long as something of it is or is going to be on the host."""
        return self is not Phase.EXITED


class Asker(NamedTuple):
    """Who gets the answer to a call."""

    connection: Connection
    call: int

    def answer(self, answer: AnyAnswer, fd: int = -1) -> None:
        """Send an answer that carries this call's number."""
        self.connection.send(answer, fd)

    def done(self) -> None:
        """Say that the call has taken effect."""
        self.connection.send(Done(call=self.call))

    def refuse(self, message: str) -> None:
        """Say why it has not."""
        self.connection.send(Refused(call=self.call, message=message))


@dataclass(slots=True, kw_only=True, eq=False)
class Container:
    """One container from the request to build it until its owner forgets it."""

    guest_id: int
    tag: str
    phase: Phase
    spec: ContainerSpec | None = None
    """Until it has been cloned."""
    is_child: bool = True
    """False for one that outlived an earlier warden: its exit status goes to another process."""
    pid: int = 0
    start_ticks: int = 0
    pidfd: int = -1
    report: int = -1
    gate: int = -1
    console: int = -1
    warnings: tuple[str, ...] = ()
    in_preinit: bool = False
    failure: str = ""
    """Why its creation or its exec has failed, once it has."""
    reaped: int | None = None
    """Wait status, where another process than this one has it."""
    kill_asked: bool = False
    was_built: bool = False
    was_started: bool = False
    has_run: bool = False
    ended: Ended | None = None
    creator: Asker | None = None
    starters: list[Asker] = field(default_factory=list)
    freezers: list[Asker] = field(default_factory=list)
    killers: list[Asker] = field(default_factory=list)
    forgetters: list[Asker] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """True until its owner has been told that it is built: until then it can still fail, and leave no record."""
        return not self.was_built

    @property
    def name(self) -> str:
        """Of its cgroups."""
        return str(self.guest_id)

    def close_gate(self) -> None:
        """Close both pipes of the set-up; harmless when repeated. Their watches must be gone."""
        for fd in (self.report, self.gate):
            if fd >= 0:
                os.close(fd)
        self.report = self.gate = -1

    def over(self) -> str:
        """For an ended container, the sentence that says so."""
        return f"container {self.name} has ended: {self.ended.exit if self.ended else 'its process is gone'}"

    def status(self) -> ContainerStatus:
        """As listings show it."""
        ended = self.ended
        return ContainerStatus(
            guest_id=self.guest_id,
            pid=self.pid,
            start_ticks=self.start_ticks,
            state=self._state(),
            exit=ended.exit if ended else "",
            clean=ended.clean if ended else False,
            oom_killed=ended.oom_killed if ended else False,
            message=ended.message if ended else "",
            has_console=self.is_child or self.console >= 0,
        )

    def past(self) -> Past:
        """As the journal keeps it."""
        return Past(
            guest_id=self.guest_id,
            tag=self.tag,
            pid=self.pid,
            start_ticks=self.start_ticks,
            built=self.was_built,
            started=self.was_started,
            ran=self.has_run,
            kill_asked=self.kill_asked,
            ended=self.ended,
        )

    def _state(self) -> Literal["building", "running", "frozen", "exited"]:
        match self.phase:
            case Phase.QUEUED | Phase.CLONING | Phase.BUILDING | Phase.SETTLING | Phase.WAITING:
                return "building"
            case Phase.STARTING | Phase.RUNNING | Phase.PAUSING:
                return "running"
            case Phase.FROZEN:
                return "frozen"
            case Phase.ENDING | Phase.EXITED:
                return "exited"


def take_all(askers: list[Asker]) -> list[Asker]:
    """The askers of a list, which is empty afterwards."""
    taken = askers[:]
    askers.clear()
    return taken
