"""The pure core of the `plumber` actor's durable part: properties of pipes."""

from __future__ import annotations

import msgspec

from actors.plumber.table import DEFAULT, PipeSettings, PlumberTable, name_error
from bus.messages.base import Ack
from bus.messages.pipe import DeletePipes, SetPipe
from bus.step import Effect, Fail, Input, Received, Recovered, Reply


class Changed(Effect, frozen=True, kw_only=True):
    """A pipe that is in use has other properties now."""

    namespace: str
    pipe: str


class Delete(Effect, frozen=True, kw_only=True):
    """End a pipe, or all of a namespace, and answer; only the running part knows which there are."""

    msg_id: str
    namespace: str
    pipe: str
    known: bool
    """Whether it had properties."""


class Deleted(Input, frozen=True, kw_only=True, tag="plumber.deleted"):
    """What became of `Delete`."""

    msg_id: str
    error: str = ""


def step(table: PlumberTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    match inp:
        case Received(body=SetPipe() as msg):
            return _set(table, inp, msg)
        case Received(body=DeletePipes(pipe=pipe)):
            settings = table.pipes.get(inp.namespace, {})
            known = bool(settings) if not pipe else pipe in settings
            if pipe:
                settings.pop(pipe, None)
            else:
                table.pipes.pop(inp.namespace, None)
            return [Delete(msg_id=inp.msg_id, namespace=inp.namespace, pipe=pipe, known=known)]
        case Deleted(msg_id=msg_id, error=error):
            return [Fail(msg_id=msg_id, code="not_found", message=error) if error else Reply(msg_id=msg_id, body=Ack())]
        case Received(msg_id=msg_id, body=body):
            sentence = f"plumber does not understand {type(body).__name__}"
            return [Fail(msg_id=msg_id, code="unknown_type", message=sentence)]
        case Recovered():
            return []
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


def _set(table: PlumberTable, inp: Received, msg: SetPipe) -> list[Effect]:
    sentence = name_error(msg.pipe)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    wanted = {"mode": msg.mode, "overflow": msg.overflow, "log": msg.log, "via": msg.via}
    changes = {name: value for name, value in wanted.items() if value is not None}
    settings: PipeSettings = msgspec.structs.replace(table.settings(inp.namespace, msg.pipe), **changes)
    if settings == DEFAULT:
        table.pipes.get(inp.namespace, {}).pop(msg.pipe, None)
    else:
        table.pipes.setdefault(inp.namespace, {})[msg.pipe] = settings
    return [Changed(namespace=inp.namespace, pipe=msg.pipe), Reply(msg_id=inp.msg_id, body=Ack())]
