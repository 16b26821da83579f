"""Structured logs: a constant event name, values as keys. JSON lines on stderr, and whatever else the settings name.

The node owns the settings. It sends them to its children over the control lane, and those it forks later inherit them;
each process writes its own records. How a node is told with what to start: see `bus.logs.log_settings`.

Own lines rather than structlog: the warden and the node must stay small and start in no time, and importing
structlog (which pulls in its console renderers) costs more than the warden's whole start.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from bus.logs import log_format, log_settings
from bus.logs.log_format import MAX_VALUE, Line, Value
from bus.logs.log_settings import LEVELS, LogSettings
from bus.logs.log_sinks import Ring, Sink, open_sinks

STDERR_FD = 2

message_id: contextvars.ContextVar[str] = contextvars.ContextVar("message_id", default="")
"""Id of the message that is being handled; added to every record."""


class Outlet:
    """What becomes of the records of one process."""

    def __init__(self, settings: LogSettings = log_settings.FIRST, fd: int = STDERR_FD) -> None:
        self.settings = settings
        self.ring = Ring()
        self.relay: Callable[[Line], None] | None = None
        """Where records for the ring go instead, if somebody else keeps them for this process."""
        self._fd = fd
        self._sinks: list[Sink] = []
        self._take(settings)

    def configure(self, settings: LogSettings) -> None:
        """Let these settings hold; raises ValueError with the reasons if a sink cannot be opened, and changes nothing.

        Files and connections are opened anew, also those that stay the same.
        """
        sinks, problems = open_sinks(settings)
        if problems:
            for sink in sinks:
                sink.close()
            raise ValueError("; ".join(problems))
        self._swap(settings, sinks)

    def adopt(self, settings: LogSettings) -> list[str]:
        """Let settings hold that the node has checked; returns what cannot be opened here, which is left out."""
        sinks, problems = open_sinks(settings)
        self._swap(settings, sinks)
        return problems

    def write(self, level: str, actor: str, event: str, fields: dict[str, Value]) -> bool:
        """Write one record; False if a filter holds it back."""
        now_s = time.time()
        settings = self.settings
        line: Line | None = None
        if self._sinks or settings.filters or settings.ring or settings.format == "text":
            line = Line(now_s, level, actor, f"{_caller()}: {log_format.message(actor, event, fields)}")
            if any(part in line.text for part in settings.filters):
                return False
            self._spread(line)
        if settings.stderr:
            with contextlib.suppress(OSError, ValueError):
                if line is not None and settings.format == "text":
                    shown = log_format.text_line(line) + "\n"
                else:
                    shown = log_format.json_line(level, actor, event, fields, now_s)
                os.write(self._fd, shown.encode("utf-8", "replace"))
        return True

    def flush(self) -> None:
        """Try again to send what waits; to be called about once a second."""
        for sink in self._sinks:
            sink.flush()

    def forked(self) -> None:
        """This process is a new child: it has the settings, and no records yet."""
        self.ring.clear()
        for sink in self._sinks:
            sink.forked()

    def _spread(self, line: Line) -> None:
        for sink in self._sinks:
            sink.write(line)
        if self.settings.ring:
            (self.relay or self.ring.add)(line)

    def _swap(self, settings: LogSettings, sinks: list[Sink]) -> None:
        old, self._sinks = self._sinks, sinks
        self._take(settings)
        for sink in old:
            sink.close()

    def _take(self, settings: LogSettings) -> None:
        self.settings = settings
        self.ring.resize(settings.ring)


OUTLET = Outlet()
"""That of this process."""


class Log:
    """What one part of the program logs with."""

    def __init__(self, actor: str, outlet: Outlet | None = None) -> None:
        self.actor = actor
        self.outlet = outlet or OUTLET
        self.publish: Callable[[str, str, dict[str, Value]], None] | None = None
        """Set by the actor base: puts a record on the bus as well."""

    def debug(self, event: str, **fields: Value) -> None:
        """For following the program's own steps."""
        self.record("debug", event, fields)

    def info(self, event: str, **fields: Value) -> None:
        """Something of note went as it should."""
        self.record("info", event, fields)

    def warn(self, event: str, **fields: Value) -> None:
        """Something is not as it should be, and work goes on."""
        self.record("warn", event, fields)

    def error(self, event: str, **fields: Value) -> None:
        """Something failed."""
        self.record("error", event, fields)

    def exception(self, event: str, error: BaseException, **fields: Value) -> None:
        """A bug: the record carries the trace."""
        self.record("error", event, {**fields, "trace": "".join(traceback.format_exception(error))})

    def record(self, level: str, event: str, fields: dict[str, Value]) -> None:
        """Write one record; a full disk or a closed stderr never stops the program."""
        if LEVELS[level] < LEVELS[self.outlet.settings.level]:
            return
        bounded = {key: value[:MAX_VALUE] if isinstance(value, str) else value for key, value in fields.items()}
        if msg_id := message_id.get():
            bounded.setdefault("msg_id", msg_id)
        if self.outlet.write(level, self.actor, event, bounded) and self.publish is not None:
            self.publish(level, event, bounded)

    def adopt(self, settings: Any) -> None:
        """Let settings from the node hold for this process; logs what cannot be done here."""
        if not isinstance(settings, dict):
            return
        try:
            problems = self.outlet.adopt(log_settings.checked(log_settings.FIRST, settings))
        except ValueError as error:
            problems = [str(error)]
        for problem in problems:
            self.warn("log_sink_failed", reason=problem)


def _caller() -> str:
    """File and line of the code that logs."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
