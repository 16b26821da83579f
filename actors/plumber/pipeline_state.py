"""The pure core of pipelines: which there are, how requests about them are answered, what a restart means for them."""

from __future__ import annotations

import msgspec

from actors.plumber.pipeline import elements_error, name_of
from actors.plumber.pipeline_table import (
    EndLeft,
    PipelineEnded,
    PipelineRecord,
    PipelineRefused,
    Pipelines,
    PipelinesCleared,
    PipelineStarted,
    Spawn,
    Stop,
)
from bus.actor.step import Effect, Fail, Input, Publish, Received, Recovered, Reply
from bus.messages.base import Ack
from bus.messages.pipeline import (
    ClearPipelines,
    PipelineChanged,
    PipelineInfo,
    PipelineState,
    Restart,
    StageInfo,
    StartPipeline,
)
from bus.topics import pipeline_topic

MAX_PIPELINES = 1_000
"""Running at a time."""
MAX_PROGRAMS = 2_000
"""Elements of all that run together; each may be a process."""
KEEP_FAILED = 50
"""Failed or broken ones that are remembered."""
RESTARTED = "the plumber was restarted, and this pipeline begins with a program or is not to be started again"


def step(table: Pipelines, inp: Input) -> list[Effect] | None:
    """Take one input into the table; returns what is to be done about it, None if it is not about pipelines."""
    match inp:
        case Received(body=StartPipeline() as msg):
            return _start(table, inp, msg)
        case Received(body=ClearPipelines(name=name)):
            return _clear(table, inp.msg_id, inp.namespace, name)
        case PipelineStarted():
            return _started(table, inp)
        case PipelineRefused():
            return _refused(table, inp)
        case PipelineEnded():
            return _ended(table, inp)
        case PipelinesCleared(msg_id=msg_id):
            return _cleared(table, msg_id, inp.time_s)
        case Recovered():
            return _recovered(table, inp.time_s)
        case _:
            return None


def info_of(record: PipelineRecord, stages: tuple[StageInfo, ...] = ()) -> PipelineInfo:
    """As it is shown, with `stages` as they are now if they are known."""
    return PipelineInfo(
        name=record.name,
        state=record.state,
        restart=record.restart,
        stages=stages or record.stages,
        error=record.error,
        started_s=record.started_s,
        ended_s=record.ended_s,
    )


def _start(table: Pipelines, inp: Received, msg: StartPipeline) -> list[Effect]:
    sentence = elements_error(msg.elements, msg.env)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    name = name_of(msg.elements, inp.namespace)
    same = [record for record in _of(table, inp.namespace) if record.name == name]
    if any(record.live and not record.clearing for record in same):
        return [Fail(msg_id=inp.msg_id, code="conflict", message=f"pipeline already exists: [{name}]")]
    live = [record for record in table.records.values() if record.live]
    if len(live) >= MAX_PIPELINES or sum(len(record.elements) for record in live) + len(msg.elements) > MAX_PROGRAMS:
        sentence = f"{len(live)} pipelines are running already, which is all there may be: end some with `clear plumb`"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    for record in same:
        if not record.live:
            del table.records[record.number]
    number, table.next_number = table.next_number, table.next_number + 1
    table.records[number] = PipelineRecord(
        number=number,
        namespace=inp.namespace,
        name=name,
        elements=msg.elements,
        env=msg.env,
        restart=msg.restart,
        mark=f"plumb{number}-{inp.seed:x}",
        request=inp.msg_id,
    )
    return [Spawn(number=number)]


def _started(table: Pipelines, inp: PipelineStarted) -> list[Effect]:
    record = table.records[inp.number]
    record.state = PipelineState.RUNNING
    record.stages, record.processes, record.boot_id = inp.stages, inp.processes, inp.boot_id
    record.started_s = inp.time_s
    if record.restart is Restart.AUTO:
        record.restart = Restart.NEVER if inp.begins_with_program else Restart.ALWAYS
    request, record.request = record.request, ""
    return [_changed(record), *([Reply(msg_id=request, body=Ack())] if request else [])]


def _refused(table: Pipelines, inp: PipelineRefused) -> list[Effect]:
    record = table.records[inp.number]
    if record.request:
        del table.records[inp.number]
        return [Fail(msg_id=record.request, code=inp.code, message=inp.message)]
    return _finish(table, record, PipelineState.BROKEN, f"it could not be started again: {inp.message}", inp.time_s)


def _ended(table: Pipelines, inp: PipelineEnded) -> list[Effect]:
    record = table.records.get(inp.number)
    if record is None or not record.live:
        return []
    record.stages = inp.stages or record.stages
    if record.clearing:
        return _finish(table, record, PipelineState.CLEARED, "", inp.time_s)
    return _finish(table, record, PipelineState.FAILED if inp.error else PipelineState.ENDED, inp.error, inp.time_s)


def _finish(table: Pipelines, record: PipelineRecord, state: PipelineState, error: str, time_s: float) -> list[Effect]:
    record.state, record.error, record.ended_s, record.processes = state, error, time_s, ()
    if state in (PipelineState.ENDED, PipelineState.CLEARED):
        del table.records[record.number]
    else:
        kept = sorted((one for one in table.records.values() if not one.live), key=lambda one: one.ended_s)
        for oldest in kept[: max(0, len(kept) - KEEP_FAILED)]:
            del table.records[oldest.number]
    return [_changed(record)]


def _changed(record: PipelineRecord) -> Publish:
    topic = pipeline_topic(record.namespace, record.state.value)
    return Publish(topic=topic, event=PipelineChanged(pipeline=info_of(record)), namespace=record.namespace)


# ---------------------------------------------------------------- clearing


def _of(table: Pipelines, namespace: str) -> list[PipelineRecord]:
    return [record for record in table.records.values() if record.namespace == namespace]


def _clear(table: Pipelines, msg_id: str, namespace: str, name: str) -> list[Effect]:
    found = [record for record in _of(table, namespace) if not record.clearing and name in ("", record.name)]
    if name and not found:
        return [Fail(msg_id=msg_id, code="not_found", message=f"no such pipeline: [{name}]")]
    effects: list[Effect] = []
    for record in found:
        if record.live:
            record.clearing = True
        else:
            effects += _finish(table, record, PipelineState.CLEARED, record.error, record.ended_s)
    numbers = tuple(record.number for record in found if record.live)
    if not numbers:
        return [*effects, Reply(msg_id=msg_id, body=Ack())]
    table.clears[msg_id] = numbers
    return [*effects, Stop(msg_id=msg_id, numbers=numbers)]


def _cleared(table: Pipelines, msg_id: str, time_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for number in table.clears.pop(msg_id, ()):
        record = table.records.get(number)
        if record is not None:  # it was never seen to end
            effects += _finish(table, record, PipelineState.CLEARED, "", time_s)
    return [*effects, Reply(msg_id=msg_id, body=Ack())]


# ---------------------------------------------------------------- after a start


def restarting(table: Pipelines) -> list[PipelineRecord]:
    """Those that a new process of the actor will start again."""
    return [record for record in table.records.values() if record.live and _is_restarted(record)]


def _is_restarted(record: PipelineRecord) -> bool:
    return not record.clearing and bool(record.request or record.restart is not Restart.NEVER)


def _recovered(table: Pipelines, time_s: float) -> list[Effect]:
    """Nothing goes on by itself: the other ends of all pipes of the programs were in the process that is gone."""
    live = [record for record in table.records.values() if record.live]
    if not live:
        return []
    effects: list[Effect] = [EndLeft(records=tuple(msgspec.structs.replace(record) for record in live))]
    for record in live:
        record.processes = ()
        if record.clearing:
            continue
        if _is_restarted(record):
            record.state = PipelineState.STARTING
            effects.append(Spawn(number=record.number))
        else:
            record.stages = tuple(msgspec.structs.replace(stage, pid=0) for stage in record.stages)
            effects += _finish(table, record, PipelineState.BROKEN, RESTARTED, time_s)
    for msg_id in tuple(table.clears):
        effects += _cleared(table, msg_id, time_s)
    return effects
