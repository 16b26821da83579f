"""What all commands have in common: a serial, a state, an end that is written down and then told."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shims.agent.line.streams import BufferStream, OutStream
from shims.agent.line.wire import sendable

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

WAITING, RUNNING, ENDED = "waiting", "running", "ended"
MAX_ERROR = 1000
"""Characters of a sentence."""


class Command(ABC):
    """One serial. Subclasses begin in `start` and come to `finish`, once."""

    def __init__(self, agent: Agent, serial: int) -> None:
        self.agent, self.serial = agent, serial
        self.state = WAITING
        self.started_s = 0.0
        self.pid = 0
        self.done: Message = {}
        self.on_turn_over: Callable[[], None] = lambda: None
        self._told = False
        self.is_void = False
        """It belongs to a ledger that is over: nothing of it is written down or told."""

    def begin(self) -> None:
        """Its turn has come."""
        self.state = RUNNING
        self.started_s = time.time()
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Do what it is about."""

    def signal(self, number: int) -> None:
        """Somebody wants it to end; what waits is taken off, by signal 0 too, and a transfer ends."""
        if self.state == WAITING or (number and self.state != ENDED):
            self.abort()
            self.finish("killed", number)

    def abort(self) -> None:  # noqa: B027  most have nothing
        """Let go of everything that was begun."""

    def hold(self) -> None:
        """The session has ended."""
        self._told = False
        for stream in self.streams():
            stream.hold()

    def resume(self) -> None:  # noqa: B027  most have nothing
        """A new session has heard the records: say what else it must know."""

    def streams(self) -> list[OutStream]:
        """What it sends to the server."""
        return []

    def stream(self, name: str) -> OutStream | None:
        """The one of that name."""
        return next((stream for stream in self.streams() if stream.name == name), None)

    def take(self, message: Message) -> None:
        """A message about one of its streams."""
        stream = self.stream(message["stream"])
        if stream is None:
            if message["type"] == "want":
                self._refuse(message["stream"], "this is no longer known")
            return
        try:
            if message["type"] == "ack":
                stream.acknowledge(int(message["offset"]))
            elif message["type"] == "want":
                stream.want(int(message["offset"]))
            elif isinstance(stream, BufferStream):
                stream.give_up()
                self.tell()
        except ValueError as error:
            self._refuse(stream.name, str(error))
        self.agent.session.stream(stream)

    def _refuse(self, stream: str, error: str) -> None:
        self.agent.session.send({"type": "failed", "serial": self.serial, "stream": stream, "error": error})

    def finish(self, outcome: str, code: int = 0, error: str = "") -> None:
        """It has come to its end: write that down, and tell it."""
        if self.state == ENDED:
            return
        self.state = ENDED
        if self.is_void:
            return
        self.done = {
            "outcome": outcome,
            "code": code,
            "error": sendable(error)[:MAX_ERROR],
            "time_s": time.time(),
            "stdout": self.count("stdout"),
            "stderr": self.count("stderr"),
        }
        self.agent.records.end(self.serial, self.done)
        self.tell()
        self.on_turn_over()

    def count(self, _stream: str) -> int:
        """Bytes of this output in all."""
        return 0

    def tell(self) -> None:
        """Say `done`, after the last byte of output."""
        if self.state != ENDED or self._told or not self.agent.session.is_up:
            return
        if all(stream.is_sent for stream in self.streams()):
            self._told = True
            self.agent.session.send({"type": "done", "serial": self.serial, **self.done})

    def record(self) -> Message:
        """How far it is, for a new session."""
        record: Message = {"type": "record", "serial": self.serial, "state": self.state}
        if self.state == ENDED:
            self._told = True
            return record | self.done
        if self.state == RUNNING:
            record |= {"pid": self.pid, "time_s": self.started_s}
            record |= {stream.name: stream.acknowledged for stream in self.streams() if "/" not in stream.name}
        return record


class Past(Command):
    """One of which only the record is left."""

    def __init__(self, agent: Agent, serial: int, done: Message) -> None:
        super().__init__(agent, serial)
        self.state, self.done = ENDED, done

    def start(self) -> None:
        """Never: it is over."""
