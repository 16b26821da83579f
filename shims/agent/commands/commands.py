"""All commands of this guest: whose turn it is, and what a new session has to hear."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from shims.agent.commands.command import ENDED, WAITING, Command, Past
from shims.agent.commands.getting import Get
from shims.agent.commands.probing import Probe
from shims.agent.commands.putting import Put
from shims.agent.commands.running import Run

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

KINDS: dict[str, type[Run] | type[Put] | type[Get] | type[Probe]] = {"run": Run, "put": Put, "get": Get, "probe": Probe}
AT_ONCE = ("kill", "killall", "level")
ABOUT_STREAMS = ("ack", "want", "failed", "data")
LOST = "the agent ended while it ran; how it went nobody knows"


class Commands:
    """By serial. What the server has confirmed is forgotten here, and remembered in the records."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._known: dict[int, Command] = {}
        self._queue: list[int] = []
        self._turn: Command | None = None
        for serial, done in agent.records.ended.items():
            self._known[serial] = Past(agent, serial, done)
        for serial in list(agent.records.begun):
            self._past(serial, LOST)

    def _past(self, serial: int, error: str) -> None:
        command = self._known[serial] = Past(self._agent, serial, {})
        command.state = WAITING
        command.finish("unknown", error=error)

    # --- the session

    def belong_to(self, ledger: str) -> None:
        """If this is another ledger than before: end what runs, forget everything."""
        records = self._agent.records
        if records.ledger != ledger:
            if records.ledger:
                self._agent.log.warn("the server has another history of commands: what ran for the old one ends")
            for command in self._known.values():
                command.is_void = True
                if isinstance(command, Run) and command.pid and command.state != ENDED:
                    command.kill()
                else:
                    command.abort()
            self._known.clear()
            self._queue.clear()
            self._turn = None
            records.belong_to(ledger)

    def hold(self) -> None:
        """The session has ended."""
        for command in list(self._known.values()):
            if isinstance(command, Put) and not command.is_listed and command.state != ENDED:
                self._forget(command)  # the server has to say the whole list again
            else:
                command.hold()

    def _forget(self, command: Command) -> None:
        command.abort()
        del self._known[command.serial]
        if command.serial in self._queue:
            self._queue.remove(command.serial)
        if self._turn is command:
            self._turn_over(command)

    def records(self) -> list[Message]:
        """What the server has to hear first."""
        return [self._known[serial].record() for serial in sorted(self._known)]

    def resume(self) -> None:
        """After `synced`."""
        session = self._agent.session
        for command in list(self._known.values()):
            if isinstance(command, Run) and command.is_in_background:
                session.send(command.process(gone=False))
            command.resume()

    # --- messages

    def take(self, message: Message) -> None:
        """One about commands."""
        kind, serial = message["type"], int(message["serial"])
        command = self._known.get(serial)
        if kind in ABOUT_STREAMS:
            if command is not None:
                command.take(message)
        elif kind == "signal":
            if command is not None:
                command.signal(int(message["signal"]))
        elif kind == "confirm":
            if command is not None and command.state == ENDED:
                self._agent.records.confirm(serial)
                del self._known[serial]
        elif isinstance(command, Put) and kind == "put" and not command.is_listed:
            command.extend(message)
        elif command is None and self._agent.records.knows(serial):
            self._past(serial, "it has run here before")
        elif command is None and kind in AT_ONCE:
            self._at_once(kind, serial, message)
        elif command is None and kind in KINDS:
            self._add(KINDS[kind](self._agent, message))

    def _add(self, command: Command) -> None:
        self._known[command.serial] = command
        command.on_turn_over = lambda: self._turn_over(command)
        bisect.insort(self._queue, command.serial)
        self._next()

    def _turn_over(self, command: Command) -> None:
        if command.serial in self._queue:
            self._queue.remove(command.serial)
        if self._turn is command:
            self._turn = None
            # Not at once: a thousand commands that fail to begin must not be a thousand calls deep.
            self._agent.loop.call_later(0, self._next)

    def _next(self) -> None:
        if self._turn is None and self._queue:
            command = self._turn = self._known[self._queue.pop(0)]
            try:
                command.begin()
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                command.abort()
                command.finish("failed", error=f"it is not understood: {type(error).__name__}: {error}")

    def _at_once(self, kind: str, serial: int, message: Message) -> None:
        command = self._known[serial] = Past(self._agent, serial, {})
        command.state = WAITING
        self._agent.records.begin(serial)
        try:
            error = self._do(kind, message)
        except (KeyError, TypeError, ValueError) as failure:
            error = f"it is not understood: {failure}"
        command.finish("failed" if error else "exited", error=error)

    def _do(self, kind: str, message: Message) -> str:
        """What is done at once; returns what went wrong."""
        if kind == "level":
            self._agent.log.set_level(str(message["level"]))
            return ""
        running = [known for known in self._known.values() if isinstance(known, Run) and known.is_in_background]
        if kind == "kill":
            pid = int(message["pid"])
            chosen = [run for run in running if pid in (-1, run.pid)]
            missing = f"no background process has the number {pid}" if pid > 0 else ""
        else:
            name = str(message["name"])
            chosen = [run for run in running if name and name in run.command_line]
            missing = f"no background process has `{name}` in its command line"
        for run in chosen:
            run.kill()
        return "" if chosen else missing
