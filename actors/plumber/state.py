"""The pure core of the `plumber` actor's durable part: properties of pipes, and the names of their readers."""

from __future__ import annotations

import msgspec

from actors.plumber import pipeline_state
from actors.plumber.table import DEFAULT, MAX_OF_NAMESPACE, MAX_PIPES, MAX_VIA, PipeSettings, PlumberTable
from bus.actor.step import Effect, Fail, Input, Received, Reply, not_understood
from bus.language.pipe_names import name_error
from bus.messages.base import Ack
from bus.messages.pipe import DeletePipes, SetPipe


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


class ReaderKept(Input, frozen=True, kw_only=True, tag="plumber.reader"):
    """A reader attached to a pipe, or is gone."""

    namespace: str
    pipe: str
    reader: str
    there: bool


def step(table: PlumberTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    effects = pipeline_state.step(table.pipelines, inp)
    if effects is not None:
        return effects
    match inp:
        case Received(body=SetPipe() as msg):
            return _set(table, inp, msg)
        case Received(body=DeletePipes(pipe=pipe)):
            settings = table.pipes.get(inp.namespace, {})
            known = bool(settings) if not pipe else pipe in settings
            for name, readers in table.readers.get(inp.namespace, {}).items():
                if pipe in ("", name):
                    readers.update(dict.fromkeys(readers, True))
            if pipe:
                settings.pop(pipe, None)
            else:
                table.pipes.pop(inp.namespace, None)
            return [Delete(msg_id=inp.msg_id, namespace=inp.namespace, pipe=pipe, known=known)]
        case ReaderKept():
            _keep(table, inp)
            return []
        case Deleted(msg_id=msg_id, error=error):
            return [Fail(msg_id=msg_id, code="not_found", message=error) if error else Reply(msg_id=msg_id, body=Ack())]
        case Received():
            return [not_understood("plumber", inp)]
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


def _set(table: PlumberTable, inp: Received, msg: SetPipe) -> list[Effect]:
    sentence = name_error(msg.pipe, inp.namespace)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    if msg.via and sum(map(len, msg.via)) > MAX_VIA:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=f"a via has at most {MAX_VIA} characters")]
    own = table.pipes.get(inp.namespace, {})
    if msg.pipe not in own and (len(own) >= MAX_OF_NAMESPACE or sum(map(len, table.pipes.values())) >= MAX_PIPES):
        count = MAX_OF_NAMESPACE if len(own) >= MAX_OF_NAMESPACE else MAX_PIPES
        sentence = f"{count} pipes have properties already"
        return [Fail(msg_id=inp.msg_id, code="overloaded", message=sentence)]
    wanted = {"mode": msg.mode, "overflow": msg.overflow, "log": msg.log, "via": msg.via}
    changes = {name: value for name, value in wanted.items() if value is not None}
    settings: PipeSettings = msgspec.structs.replace(table.settings(inp.namespace, msg.pipe), **changes)
    if settings == DEFAULT:
        table.pipes.get(inp.namespace, {}).pop(msg.pipe, None)
    else:
        table.pipes.setdefault(inp.namespace, {})[msg.pipe] = settings
    return [Changed(namespace=inp.namespace, pipe=msg.pipe), Reply(msg_id=inp.msg_id, body=Ack())]


def _keep(table: PlumberTable, inp: ReaderKept) -> None:
    pipes = table.readers.setdefault(inp.namespace, {})
    readers = pipes.setdefault(inp.pipe, {})
    if inp.there:
        readers[inp.reader] = False
    else:
        readers.pop(inp.reader, None)
    if not readers:
        del pipes[inp.pipe]
    if not pipes:
        del table.readers[inp.namespace]
