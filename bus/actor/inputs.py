"""The last inputs of a process: requests it got, asks of its own, what came of its effects. Also how long they took.

Every actor and the broker keep them always, so this must cost next to nothing: an entry is made of what is at hand,
and only who asks pays for making it readable (`bus.actor.input_report`).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from bus.actor.histogram import Histogram
from bus.errors import BusError, DeadlineError
from bus.logs import logs
from bus.messages.base import Failure, Message
from bus.messages.debug import InputKind, Inspection
from bus.messages.envelope import Envelope

CAPACITY = 1000
MAX_KEPT_BODY = 512
"""Bytes of a message that are kept to be summed up."""
MAX_TEXT = 1024
"""Characters of what a client may have written: the broker lets ids have so many."""
MAX_TYPE = 80
"""Characters of a type or a namespace; no true one is so long."""
OK = "ok"
GIVEN_UP = "given up"
"""Nobody waits for the answer any more."""
QUIET = frozenset(
    {
        *("control.ping", "control.hello", "control.goodbye", "control.status.get", "control.lookup"),
        *("control.readers.count", "control.readers.count_all", "control.topics.get", "control.addresses.get"),
        *(str(klass.__struct_config__.tag) for klass in Inspection.__subclasses__()),
        *("console.read", "console.type", "pipe.read"),
    }
)
"""Signs of life and questions about the process: they would push out what somebody may look for. So would those of
readers of consoles and pipes, which ask all the time and then wait, and what is typed may be a password."""


def outcome_of(answer: Message) -> str:
    """In one word."""
    return answer.code if isinstance(answer, Failure) else OK


class Entry:
    """One input; `duration_s` and `outcome` are set when it has been dealt with."""

    __slots__ = (
        *("number", "kind", "type", "id", "cause", "sender", "to", "namespace", "time_s", "begun_s", "queue_s"),
        *("body", "size_bytes", "duration_s", "outcome", "note", "restored", "times"),
    )

    def __init__(self, number: int, kind: InputKind, type_: str, msg_id: str, cause: str, namespace: str) -> None:
        self.number = number
        self.kind: InputKind = kind
        self.type = type_[:MAX_TYPE]
        self.id = msg_id[:MAX_TEXT]
        self.cause = cause[:MAX_TEXT]
        self.namespace = namespace[:MAX_TYPE]
        self.sender = self.to = ""
        self.time_s = time.time()
        self.begun_s = time.monotonic()
        self.queue_s = 0.0
        self.body = b""
        self.size_bytes = 0
        self.duration_s: float | None = None
        self.outcome = ""
        self.note = ""
        self.restored = False
        self.times = 1

    def keep(self, body: bytes) -> None:
        """Keep a message, if it is short."""
        self.size_bytes = len(body)
        if len(body) <= MAX_KEPT_BODY:
            self.body = body


class Inputs:
    """See the module."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.handling = Histogram()
        """From the arrival of a request to its answer."""
        self.queueing = Histogram()
        """From the asker to the arrival."""
        self.outcomes: Counter[str] = Counter()
        """Answers by outcome: `ok` or the code of the failure."""
        self._ring: deque[Entry] = deque(maxlen=capacity)
        self._open: dict[str, Entry] = {}
        """Requests without an answer by id; as many as the process takes."""
        self._asking: dict[int, Entry] = {}
        self._number = 0
        self.epoch = f"{time.time_ns() // 1000:x}"

    def entries(self) -> list[Entry]:
        """The last ones, and older ones that are not done yet; oldest first."""
        found = {entry.number: entry for entry in (*self._open.values(), *self._asking.values(), *self._ring)}
        return [found[number] for number in sorted(found)]

    # --- requests

    def received(self, envelope: Envelope, body: bytes, sender: str = "") -> None:
        """A request has come."""
        if envelope.type in QUIET:
            return
        entry = self._new("request", envelope.type, envelope.id, envelope.cause, envelope.namespace)
        entry.sender = sender or envelope.sender
        entry.keep(body)
        queue_s = entry.time_s - envelope.time
        if envelope.time and 0 <= queue_s <= envelope.ttl_ms / 1000:  # otherwise a clock jumped, or the asker lies
            entry.queue_s = queue_s
            self.queueing.add(queue_s)
        if (before := self._open.get(envelope.id)) is not None:
            before.outcome = "asked again"
            entry.begun_s = before.begun_s
        self._open[envelope.id] = entry

    def answered(self, msg_id: str, answer: Message) -> None:
        """A request has been answered."""
        entry = self._open.pop(msg_id, None)
        if entry is None:
            return
        entry.outcome = outcome_of(answer)
        self.outcomes[entry.outcome] += 1
        if not entry.restored:
            entry.duration_s = time.monotonic() - entry.begun_s
            self.handling.add(entry.duration_s)

    def refused(self, envelope: Envelope, sender: str, error: BusError) -> None:
        """A request to somebody else, which this process answered instead."""
        if envelope.type in QUIET:
            return
        entry = self._new("request", envelope.type, envelope.id, envelope.cause, envelope.namespace)
        entry.sender, entry.to = sender, envelope.to[:MAX_TEXT]
        entry.outcome, entry.duration_s, entry.note = error.code, 0.0, str(error)[:MAX_TEXT]
        self.outcomes[error.code] += 1

    def restored(self, envelope: Envelope, answer: Message | None, answered_s: float) -> None:
        """A request of before a restart, with the answer that it got, if it did, and when that was."""
        entry = self._new("request", envelope.type, envelope.id, envelope.cause, envelope.namespace)
        entry.sender, entry.time_s, entry.restored = envelope.sender, envelope.time, True
        if answer is None:
            self._open[envelope.id] = entry
        else:
            entry.outcome = outcome_of(answer)
            entry.duration_s = max(0.0, answered_s - envelope.time)

    # --- own doings

    def asking(self, envelope: Envelope, body: bytes) -> _Asking | _Unnoticed:
        """A context in which an ask is sent, and its answer waited for."""
        if envelope.type in QUIET:
            return _UNNOTICED
        entry = self._new("ask", envelope.type, envelope.id, envelope.cause, envelope.namespace)
        entry.to = envelope.to
        entry.keep(body)
        self._asking[entry.number] = entry
        return _Asking(entry, self._asking)

    def reported(self, type_: str) -> None:
        """An effect has led to an input. Equal ones in a row are one entry: a large launch brings hundreds."""
        cause = logs.message_id.get()
        last = self._ring[-1] if self._ring else None
        if last is not None and last.kind == "report" and last.type == type_ and last.cause == cause:
            last.times += 1
            last.duration_s = time.monotonic() - last.begun_s
            return
        entry = self._new("report", type_, "", cause, "")
        entry.outcome, entry.duration_s = OK, 0.0

    @contextmanager
    def command(self, text: str, msg_id: str, namespace: str, sender: str = "") -> Iterator[Entry]:
        """Somebody's command is being run, under this id; what it asks others names it as cause."""
        entry = self._new("command", text, msg_id, logs.message_id.get(), namespace)
        entry.sender = sender
        self._asking[entry.number] = entry
        token = logs.message_id.set(msg_id)
        try:
            with _Asking(entry, self._asking):
                yield entry
        finally:
            with suppress(ValueError):  # a generator that was dropped ends in another context
                logs.message_id.reset(token)

    def _new(self, kind: InputKind, type_: str, msg_id: str, cause: str, namespace: str) -> Entry:
        self._number += 1
        entry = Entry(self._number, kind, type_, msg_id, cause, namespace)
        self._ring.append(entry)
        return entry


class _Asking:
    """Notes how it ended; what the block has noted itself stands."""

    __slots__ = ("_entry", "_open")

    def __init__(self, entry: Entry, open_: dict[int, Entry]) -> None:
        self._entry = entry
        self._open = open_

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        entry = self._entry
        self._open.pop(entry.number, None)
        entry.duration_s = time.monotonic() - entry.begun_s
        if error is not None:
            entry.outcome = _code(error)
        elif not entry.outcome:
            entry.outcome = OK


def _code(error: BaseException) -> str:
    if isinstance(error, BusError):
        return error.code
    return DeadlineError.code if isinstance(error, TimeoutError) else GIVEN_UP


class _Unnoticed:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass


_UNNOTICED = _Unnoticed()
