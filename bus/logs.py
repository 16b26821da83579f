"""Structured logs: a constant event name, values as keys; one JSON object a line on stderr, and on the bus.

Own sixty lines rather than structlog: the warden and the node must stay small and start in no time, and importing
structlog (which pulls in its console renderers) costs more than the warden's whole start.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import re
import time
import traceback
from collections.abc import Callable

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
Value = str | int | float | bool | None

message_id: contextvars.ContextVar[str] = contextvars.ContextVar("message_id", default="")
"""Id of the message that is being handled; added to every record."""

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON leaves as it is, though terminals and readers of lines may act on it."""

MAX_VALUE = 4096
"""Characters of one value; a guest may have written it."""


def format_line(level: str, actor: str, event: str, fields: dict[str, Value], time_s: float) -> str:
    """One record as a JSON line; control characters are escaped, so that nothing in it can forge a second line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_s)) + f".{int(time_s * 1000) % 1000:03d}Z"
    record = {"time": stamp, "level": level, "actor": actor, "event": event, **fields}
    line = json.dumps(record, default=str, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n"


class Log:
    """The log of one process."""

    def __init__(self, actor: str, *, level: str = "info", fd: int = 2) -> None:
        self.actor = actor
        self.level = level
        self.publish: Callable[[str, str, dict[str, Value]], None] | None = None
        """Set by the actor base: puts a record on the bus as well."""
        self._fd = fd

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
        if LEVELS[level] < LEVELS[self.level]:
            return
        bounded = {key: value[:MAX_VALUE] if isinstance(value, str) else value for key, value in fields.items()}
        if msg_id := message_id.get():
            bounded.setdefault("msg_id", msg_id)
        with contextlib.suppress(OSError, ValueError):
            os.write(self._fd, format_line(level, self.actor, event, bounded, time.time()).encode("utf-8", "replace"))
        if self.publish is not None:
            self.publish(level, event, bounded)
