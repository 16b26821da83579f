"""The pure core of the `scheduler` actor: ask the hosts, place, launch, gather."""

from __future__ import annotations

import msgspec

from actors.scheduler.place import Placement, PlacementError, place
from bus.actor.step import Answered, Ask, AskFailed, Effect, Fail, Input, Received, Recovered, Reply, not_understood
from bus.messages.namespace import Batch
from bus.messages.schedule import PlaceVms
from bus.messages.vm import GetHostLoad, HostLoad, LaunchVms, VmReport, VmResult

LOAD_TIMEOUT_S = 30.0
LAUNCH_TIMEOUT_S = 840.0


class Located(Input, frozen=True, kw_only=True, tag="scheduler.located"):
    """First input of every start: where the actor runs."""

    host: str


class Schedule(msgspec.Struct):
    """One placement under way: first the hosts are asked for their loads, then they launch."""

    namespace: str
    batches: tuple[Batch, ...]
    hosts: tuple[str, ...]
    load_metric: str
    open: int
    """Answers that are still to come."""
    dry_run: bool = False
    fixed: dict[str, str] = {}
    """Name of a VM to its host."""
    loads: dict[str, HostLoad] = {}
    placements: list[Placement] = []
    reports: dict[int, VmReport] = {}
    """By index of the placement."""
    errors: list[str] = []
    """Of hosts that did not answer."""


class SchedulerTable(msgspec.Struct):
    """All that the actor must not forget."""

    host: str
    schedules: dict[str, Schedule] = {}
    """By id of the request."""
    asks: dict[str, tuple[str, str, int]] = {}
    """Tag of an open ask to the id of the request, the host, and the index of the placement (-1: its load is asked)."""


def step(table: SchedulerTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    match inp:
        case Received(body=PlaceVms() as msg):
            return _begin(table, inp, msg)
        case Received():
            return [not_understood("scheduler", inp)]
        case Answered(tag=tag, body=body) if tag in table.asks:
            msg_id, host, index = table.asks.pop(tag)
            return _answered(table, msg_id, host, index, body)
        case AskFailed(tag=tag, message=message) if tag in table.asks:
            msg_id, host, index = table.asks.pop(tag)
            return _failed(table, msg_id, host, index, message)
        case Located(host=host):
            table.host = host
            return []
        case Recovered():
            return []
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


def _begin(table: SchedulerTable, inp: Received, msg: PlaceVms) -> list[Effect]:
    hosts = tuple(dict.fromkeys(msg.hosts))
    if not hosts:
        return [Fail(msg_id=inp.msg_id, code="invalid", message="no hosts to schedule VMs on")]
    table.schedules[inp.msg_id] = Schedule(
        namespace=inp.namespace,
        batches=msg.batches,
        hosts=hosts,
        load_metric=msg.load_metric,
        dry_run=msg.dry_run,
        fixed=msg.fixed,
        open=len(hosts),
    )
    effects: list[Effect] = []
    for host in hosts:
        tag = f"load/{host}/{inp.msg_id}"
        table.asks[tag] = (inp.msg_id, host, -1)
        effects.append(Ask(tag=tag, to=f"vm@{host}", body=GetHostLoad(), timeout_s=LOAD_TIMEOUT_S, cause=inp.msg_id))
    return effects


def _answered(table: SchedulerTable, msg_id: str, host: str, index: int, body: object) -> list[Effect]:
    schedule = table.schedules[msg_id]
    schedule.open -= 1
    match body:
        case HostLoad():
            schedule.loads[host] = body
            return _loads_known(table, msg_id) if schedule.open == 0 else []
        case VmReport():
            schedule.reports[index] = body
            return _finish_if_done(table, msg_id)
        case _:
            raise TypeError(f"no use for an answer of type {type(body).__name__}")


def _failed(table: SchedulerTable, msg_id: str, host: str, index: int, message: str) -> list[Effect]:
    schedule = table.schedules[msg_id]
    schedule.open -= 1
    schedule.errors.append(f"{host}: {message}")
    if index < 0:
        return _loads_known(table, msg_id) if schedule.open == 0 else []
    names = schedule.placements[index].names
    schedule.reports[index] = VmReport(
        results=tuple(VmResult(name=name, error=f"{name}: {message}", host=host) for name in names)
    )
    return _finish_if_done(table, msg_id)


def _loads_known(table: SchedulerTable, msg_id: str) -> list[Effect]:
    schedule = table.schedules[msg_id]
    loads = [schedule.loads[host] for host in schedule.hosts if host in schedule.loads]
    if not loads:
        sentence = "; ".join(["no hosts to schedule VMs on", *schedule.errors])
        return _give_up(table, msg_id, "unavailable", sentence)
    try:
        schedule.placements = place(schedule.batches, loads, schedule.load_metric, table.host, schedule.fixed)
    except PlacementError as error:
        return _give_up(table, msg_id, "conflict", str(error))
    if schedule.dry_run:
        del table.schedules[msg_id]
        return [Reply(msg_id=msg_id, body=_plan(schedule))]
    schedule.open = len(schedule.placements)
    asks = [_launch(table, msg_id, index) for index in range(schedule.open)]
    return asks or _finish_if_done(table, msg_id)


def _give_up(table: SchedulerTable, msg_id: str, code: str, sentence: str) -> list[Effect]:
    del table.schedules[msg_id]
    return [Fail(msg_id=msg_id, code=code, message=sentence)]


def _plan(schedule: Schedule) -> VmReport:
    """What would go where; hosts that did not answer are named."""
    chosen = [VmResult(name=name, host=each.host) for each in schedule.placements for name in each.names]
    return VmReport(results=tuple(chosen), errors=tuple(schedule.errors))


def _launch(table: SchedulerTable, msg_id: str, index: int) -> Effect:
    schedule = table.schedules[msg_id]
    placement = schedule.placements[index]
    batch = schedule.batches[placement.batch]
    tag = f"launch/{index}/{msg_id}"
    table.asks[tag] = (msg_id, placement.host, index)
    return Ask(
        tag=tag,
        to=f"vm@{placement.host}",
        body=LaunchVms(kind=batch.kind, config=batch.config, names=tuple(placement.names)),
        timeout_s=LAUNCH_TIMEOUT_S,
        namespace=schedule.namespace,
        cause=msg_id,
    )


def _finish_if_done(table: SchedulerTable, msg_id: str) -> list[Effect]:
    schedule = table.schedules[msg_id]
    if schedule.open > 0:
        return []
    del table.schedules[msg_id]
    reports = [schedule.reports[index] for index in sorted(schedule.reports)]
    results = tuple(result for report in reports for result in report.results)
    errors = (*schedule.errors, *(error for report in reports for error in report.errors))
    warnings = dict.fromkeys(warning for report in reports for warning in report.warnings)
    return [Reply(msg_id=msg_id, body=VmReport(results=results, errors=errors, warnings=tuple(warnings)))]
