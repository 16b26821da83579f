"""Inputs made readable. Of what a message held, only names and numbers are told: contents may be secret, or large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bus import codec
from bus.actor.inputs import Entry, Inputs
from bus.errors import MalformedError
from bus.messages.debug import InputList, InputRecord

SHOWN_FIELDS = (
    *("target", "name", "names", "kind", "vm_id", "vm_ids", "host", "hosts", "key", "queueing", "metric", "dry_run"),
    *("pipe", "reader", "writer", "number", "count", "mode", "job_id", "all", "window_s", "actor", "level", "batches"),
    *("guests", "exits", "topics"),
)
"""Fields that tell what a request is about. All others (programs, environments, URLs, data, tags) stay untold."""
MAX_VALUE = 60
"""Characters of one value."""
MAX_SUMMARY = 160
MAX_ITEMS = 3


def input_list(actor: str, inputs: Inputs, after: int = 0, also: Iterable[int] = ()) -> InputList:
    """What `GetInputs` answers."""
    named = frozenset(also)
    found = [entry for entry in inputs.entries() if entry.number > after or entry.number in named or not entry.outcome]
    return InputList(actor=actor, inputs=tuple(map(_record, found)), epoch=inputs.epoch)


def _record(entry: Entry) -> InputRecord:
    return InputRecord(
        number=entry.number,
        time_s=entry.time_s,
        kind=entry.kind,
        type=entry.type,
        id=entry.id,
        cause=entry.cause,
        sender=entry.sender,
        to=entry.to,
        namespace=entry.namespace,
        queue_s=entry.queue_s,
        duration_s=entry.duration_s,
        outcome=entry.outcome,
        summary=entry.note or summary(entry.body, entry.size_bytes),
        restored=entry.restored,
        times=entry.times,
    )


def summary(body: bytes, size_bytes: int) -> str:
    """What a message is about, in a few words; its size if it was too long to be kept."""
    if not body:
        return f"({size_bytes} bytes)" if size_bytes else ""
    try:
        fields = codec.decode_unknown(body)
    except MalformedError:
        return f"({size_bytes} bytes, unreadable)"
    if not isinstance(fields, dict):
        return ""
    told = " ".join(f"{name}={_value(fields[name])}" for name in SHOWN_FIELDS if name in fields)
    return told if len(told) <= MAX_SUMMARY else f"{told[:MAX_SUMMARY]}..."


def _value(value: Any) -> str:
    match value:
        case bool() | int() | float() | None:
            return str(value).lower() if isinstance(value, bool) else str(value)
        case str():
            return value if len(value) <= MAX_VALUE else f"{value[:MAX_VALUE]}..."
        case list() if value and all(isinstance(one, str | int) for one in value):
            shown = ",".join(map(_value, value[:MAX_ITEMS]))
            return shown if len(value) <= MAX_ITEMS else f"{shown},... ({len(value)})"
        case list() | dict():
            return f"({len(value)})"
        case _:
            return "..."
