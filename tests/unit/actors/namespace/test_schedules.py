"""The namespace actor's step: saved configurations at launch, the load metric, dry runs and the history of launches."""

from __future__ import annotations

import msgspec
import pytest

from actors.namespace.plan import shown
from actors.namespace.queued import MAX_QUEUED, MAX_QUEUED_BYTES
from actors.namespace.schedules import MAX_RUNS, history
from actors.namespace.state import namespace_list, step
from actors.namespace.table import Located, NamespaceTable, first_table
from actors.scheduler.place import METRICS
from bus.actor.step import Ask, AskFailed, Effect, Fail
from bus.errors import InvalidError
from bus.messages.base import Ack, Message, Request
from bus.messages.namespace import (
    LOAD_METRICS,
    ClearConfig,
    FlushQueue,
    LaunchQueue,
    QueueVms,
    SaveConfig,
    SetConfig,
    SetLoadMetric,
    SetQueueing,
)
from bus.messages.schedule import ChangePlan, PlaceVms, Plan, ScheduleRun
from bus.messages.vm import GuestKind, VmConfig, VmNames, VmReport, VmResult
from tests.unit.actors.steps import answer, only, received, replies, the, through_snapshot

NS = "minimega"


@pytest.fixture
def table() -> NamespaceTable:
    """A fresh host."""
    return first_table("h1", "/base/files")


def do(table: NamespaceTable, body: Request[Message], msg_id: str = "m1") -> list[Effect]:
    """One request."""
    return step(table, received(body, msg_id, namespace=NS))


def placing(table: NamespaceTable, body: Request[Message], *, time_s: float = 100.0) -> Ask:
    """The request to the scheduler that a launch leads to."""
    names = the(Ask, do(table, body))
    return the(Ask, step(table, answer(names, VmNames(uuids={}), time_s=time_s)))


def launch(names: str, config: str = "") -> QueueVms:
    """`vm launch container NAMES [CONFIG]`."""
    return QueueVms(kind=GuestKind.CONTAINER, names=names, config=config)


def test_a_saved_configuration_is_launched_and_the_current_one_stays(table: NamespaceTable) -> None:
    do(table, SetConfig(param="memory", words=("64",)))
    do(table, SaveConfig(name="small"))
    do(table, SetConfig(param="memory", words=("512",)))
    place = placing(table, launch("a", "small"))
    assert isinstance(place.body, PlaceVms)
    assert [batch.config for batch in place.body.batches] == [VmConfig(memory_mib=64)]
    assert table.get(NS).draft == VmConfig(memory_mib=512)


def test_a_configuration_that_was_not_saved(table: NamespaceTable) -> None:
    effects = do(table, launch("a", "big"))
    assert replies(effects) == {"m1": Fail(msg_id="m1", code="not_found", message="config big does not exist")}
    assert (table.launches, table.get(NS).queue) == ({}, [])


def test_the_uuid_of_a_saved_configuration_is_for_one_vm(table: NamespaceTable) -> None:
    do(table, SetConfig(param="uuid", words=("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",)))
    do(table, SaveConfig(name="one"))
    do(table, SetConfig(param="uuid", words=("",)))
    sentence = "cannot launch multiple VMs with a pre-configured UUID"
    assert replies(do(table, launch("2", "one"))) == {"m1": Fail(msg_id="m1", code="invalid", message=sentence)}
    assert placing(table, launch("2"))


def test_the_metrics_are_those_of_the_scheduler() -> None:
    assert set(LOAD_METRICS) == set(METRICS)


@pytest.mark.parametrize("metric", LOAD_METRICS)
def test_the_load_metric_goes_to_the_scheduler(table: NamespaceTable, metric: str) -> None:
    assert replies(do(table, SetLoadMetric(metric=metric))) == {"m1": Ack()}
    assert [info.load_metric for info in namespace_list(table).namespaces] == [metric]
    place = placing(table, launch("a"))
    assert isinstance(place.body, PlaceVms)
    assert place.body.load_metric == metric


def test_a_load_metric_that_is_none(table: NamespaceTable) -> None:
    sentence = "invalid load metric `luck`: expected cpucommit, memcommit, netcommit"
    assert replies(do(table, SetLoadMetric(metric="luck"))) == {
        "m1": Fail(msg_id="m1", code="invalid", message=sentence)
    }
    assert table.get(NS).load_metric == "cpucommit"


def queue(table: NamespaceTable, names: str) -> None:
    """Queue VMs, and launch none."""
    do(table, SetQueueing(queueing=True))
    step(table, answer(the(Ask, do(table, launch(names))), VmNames(uuids={})))


def test_a_queue_has_an_end(table: NamespaceTable) -> None:
    for _ in range(MAX_QUEUED // 10_000):
        queue(table, "10000")
    effects = step(table, answer(the(Ask, do(table, launch("1"), "m2")), VmNames(uuids={})))
    sentence = f"{MAX_QUEUED} VMs are queued already, at most {MAX_QUEUED} can be: `vm launch` them, or `ns flush`"
    assert replies(effects) == {"m2": Fail(msg_id="m2", code="conflict", message=sentence)}
    assert (len(table.get(NS).queue), table.launches) == (MAX_QUEUED // 10_000, {})


def test_large_configurations_end_a_queue_sooner(table: NamespaceTable) -> None:
    """Each is in every snapshot: a few thousand of them were more than could be read at the next start."""
    do(table, SetConfig(param="init", words=("x" * 60_000,)))
    room = MAX_QUEUED_BYTES // 60_000
    for number in range(room - 1):
        queue(table, f"web{number}")
    assert len(table.get(NS).queue) == room - 1
    for number in range(2):
        effects = step(table, answer(the(Ask, do(table, launch(f"db{number}"), "m2")), VmNames(uuids={})))
    ((_, refusal),) = replies(effects).items()
    assert isinstance(refusal, Fail)
    assert refusal.message.endswith("VMs that are queued take 16 MiB already: `vm launch` them, or `ns flush`")
    assert len(msgspec.msgpack.encode(table)) < MAX_QUEUED_BYTES + 1_000_000
    do(table, FlushQueue())
    queue(table, "db1")
    assert [batch.names for batch in table.get(NS).queue] == [("db1",)]


def test_names_and_uuids_that_are_queued_are_known_however_the_queue_came_about(table: NamespaceTable) -> None:
    do(table, SetConfig(param="uuid", words=("00000000-0000-4000-8000-000000000001",)))
    queue(table, "web")
    again = through_snapshot(table)
    do(again, ClearConfig(param="uuid"))
    assert again.get(NS).queued.names == {"web"}
    queue(again, "db[1-2]")
    assert again.get(NS).queued.names == {"web", "db1", "db2"}
    assert "00000000-0000-4000-8000-000000000001" in again.get(NS).queued.uuids
    do(again, FlushQueue())
    assert (again.get(NS).queued.names, again.get(NS).queued.count) == (set(), 0)


TWO = VmReport(results=(VmResult(name="vm-0", host="h1"), VmResult(name="vm-1", host="h1")))
"""What the scheduler would do with two VMs."""


def test_one_dry_run_of_a_namespace_is_under_way_at_a_time(table: NamespaceTable) -> None:
    queue(table, "2")
    place = placing(table, LaunchQueue(dry_run=True))
    ((_, refusal),) = replies(do(table, LaunchQueue(dry_run=True), "m3")).items()
    assert isinstance(refusal, Fail)
    assert (refusal.code, "a dry run of this namespace is under way" in refusal.message) == ("conflict", True)
    step(table, answer(place, TWO))
    assert placing(table, LaunchQueue(dry_run=True)) is not None


def test_a_dry_run_changes_nothing_but_the_plan(table: NamespaceTable) -> None:
    queue(table, "2")
    before = through_snapshot(table).get(NS)
    place = placing(table, LaunchQueue(dry_run=True))
    assert isinstance(place.body, PlaceVms)
    assert (place.body.dry_run, [batch.names for batch in place.body.batches]) == (True, [("vm-0", "vm-1")])
    assert replies(step(table, answer(place, TWO))) == {"m1": TWO}
    before.plan = {"vm-0": "h1", "vm-1": "h1"}
    assert (table.get(NS), table.launches, table.asks) == (before, {}, {})
    assert shown(table.get(NS)) == Plan(hosts=before.plan)


@pytest.fixture
def planned(table: NamespaceTable) -> NamespaceTable:
    """Two VMs on two hosts, after a dry run."""
    table.make(NS).hosts = ("h1", "h2")
    queue_on_two(table, launch("2"))
    place = placing_on_two(table, LaunchQueue(dry_run=True))
    step(table, answer(place, TWO))
    return table


def queue_on_two(table: NamespaceTable, body: Request[Message]) -> None:
    """Queue VMs in a namespace of two hosts."""
    do(table, SetQueueing(queueing=True))
    for ask in only(Ask, do(table, body)):
        step(table, answer(ask, VmNames(uuids={})))


def placing_on_two(table: NamespaceTable, body: Request[Message]) -> Ask:
    """The request to the scheduler in a namespace of two hosts."""
    first, second = only(Ask, do(table, body))
    step(table, answer(first, VmNames(uuids={})))
    return the(Ask, step(table, answer(second, VmNames(uuids={}))))


@pytest.mark.parametrize(
    ("target", "plan"),
    [
        ("vm-1", {"vm-0": "h1", "vm-1": "h2"}),
        ("vm-[0-1]", {"vm-0": "h2", "vm-1": "h2"}),
        ("all", {"vm-0": "h2", "vm-1": "h2"}),
    ],
)
def test_the_next_launch_keeps_to_a_changed_plan(planned: NamespaceTable, target: str, plan: dict[str, str]) -> None:
    assert replies(do(planned, ChangePlan(target=target, host="h2"))) == {"m1": Ack()}
    planned = through_snapshot(planned)
    assert shown(planned.get(NS)).hosts == plan
    place = placing_on_two(planned, LaunchQueue())
    assert isinstance(place.body, PlaceVms)
    assert (place.body.fixed, place.body.dry_run) == (plan, False)
    assert planned.get(NS).plan == {}, "it was for this launch"


@pytest.mark.parametrize(
    ("target", "host", "sentence"),
    [
        ("vm-0", "h3", "new dst host is not in namespace: h3"),
        ("vm-0,vm-2", "h2", "reassign vm-2: vm not found"),
        ("vm-[", "h2", "unterminated '['"),
        ("", "h2", "the VM target is empty"),
    ],
)
def test_a_plan_that_cannot_be_changed_so(planned: NamespaceTable, target: str, host: str, sentence: str) -> None:
    (reply,) = replies(do(planned, ChangePlan(target=target, host=host))).values()
    assert isinstance(reply, Fail) and reply.message == sentence
    assert shown(planned.get(NS)).hosts == {"vm-0": "h1", "vm-1": "h1"}


def test_without_a_dry_run_there_is_no_plan(table: NamespaceTable) -> None:
    with pytest.raises(InvalidError, match="must run dry-run first"):
        shown(table.get(NS))
    (reply,) = replies(do(table, ChangePlan(target="all", host="h1"))).values()
    assert isinstance(reply, Fail) and reply.message == "must run dry-run first"


@pytest.mark.parametrize("body", [FlushQueue(), Located(host="h9", files_dir="/")], ids=["flush", "renamed"])
def test_a_plan_ends_with_the_queue_it_was_for(planned: NamespaceTable, body: FlushQueue | Located) -> None:
    step(planned, body) if isinstance(body, Located) else do(planned, body)
    assert planned.get(NS).plan == {}


def test_a_plan_ends_when_more_is_queued(planned: NamespaceTable) -> None:
    queue_on_two(planned, launch("more"))
    assert planned.get(NS).plan == {}


def test_what_is_queued_during_a_dry_run_makes_its_plan_void(table: NamespaceTable) -> None:
    queue(table, "2")
    place = placing(table, LaunchQueue(dry_run=True))
    step(table, answer(the(Ask, do(table, launch("more"), "m2")), VmNames(uuids={})))
    step(table, answer(place, TWO))
    assert table.get(NS).plan == {}
    assert [batch.names for batch in table.get(NS).queue] == [("", ""), ("more",)]


def test_another_dry_run_chooses_anew(planned: NamespaceTable) -> None:
    do(planned, ChangePlan(target="all", host="h2"))
    place = placing_on_two(planned, LaunchQueue(dry_run=True))
    assert isinstance(place.body, PlaceVms)
    assert place.body.fixed == {}


def test_a_dry_run_that_fails_changes_nothing(table: NamespaceTable) -> None:
    do(table, SetQueueing(queueing=True))
    step(table, answer(the(Ask, do(table, launch("2"))), VmNames(uuids={})))
    before = through_snapshot(table).get(NS)
    for code in ("conflict", "deadline"):
        place = placing(table, LaunchQueue(dry_run=True))
        step(table, AskFailed(tag=place.tag, code=code, message="no"))
        assert (table.get(NS), table.launches, table.asks) == (before, {}, {})


def test_a_launch_is_in_the_history_while_it_runs_and_after(table: NamespaceTable) -> None:
    place = placing(table, launch("a,b,c"), time_s=100.0)
    table = through_snapshot(table)
    assert history(table, NS).runs == (ScheduleRun(started_s=100.0, total=3, hosts=1),)
    report = VmReport(results=(VmResult(name="a"), VmResult(name="b", error="b: no"), VmResult(name="c")))
    step(table, answer(place, report, time_s=105.0))
    ended = ScheduleRun(started_s=100.0, ended_s=105.0, launched=2, failures=1, total=3, hosts=1)
    assert history(through_snapshot(table), NS).runs == (ended,)
    assert history(table, "other").runs == ()


@pytest.mark.parametrize(
    ("code", "rows"),
    [("conflict", ()), ("deadline", (ScheduleRun(started_s=100.0, ended_s=200.0, total=1, hosts=1),))],
)
def test_a_placement_that_failed_leaves_a_row_only_if_it_may_have_launched(
    table: NamespaceTable, code: str, rows: tuple[ScheduleRun, ...]
) -> None:
    place = placing(table, launch("a"))
    step(table, AskFailed(tag=place.tag, code=code, message="no", time_s=200.0))
    assert history(table, NS).runs == rows


def test_the_history_is_bounded(table: NamespaceTable) -> None:
    for number in range(MAX_RUNS + 3):
        step(table, answer(placing(table, launch("a"), time_s=float(number + 1)), VmReport()))
    runs = history(table, NS).runs
    assert [run.started_s for run in runs] == [float(number) for number in range(4, MAX_RUNS + 4)]
