"""Placement by tables, and the scheduler's step from request to report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.scheduler.place import PlacementError, place
from actors.scheduler.state import SchedulerTable, step
from bus.actor.step import Ask, AskFailed, Fail
from bus.messages.namespace import Batch
from bus.messages.schedule import PlaceVms
from bus.messages.vm import GetHostLoad, GuestKind, HostLoad, LaunchVms, VmConfig, VmReport, VmResult
from tests.unit.actors.steps import answer, only, received, replies, through_snapshot


def load(
    host: str, cpus: int = 4, *, vms: int = 0, cpu: int = 0, mem: int = 0, net: int = 0, limit: int = -1
) -> HostLoad:
    """A host of 8 GiB."""
    return HostLoad(
        host=host,
        cpus=cpus,
        mem_total_mib=8192,
        mem_used_mib=100,
        vms=vms,
        vm_limit=limit,
        cpu_commit=cpu,
        mem_commit_mib=mem,
        net_commit=net,
    )


def batch(*names: str, **config: object) -> Batch:
    """Containers."""
    return Batch(kind=GuestKind.CONTAINER, names=names, config=VmConfig(**config))  # type: ignore[arg-type]  # a table


def placed(batches: list[Batch], loads: list[HostLoad], metric: str = "cpucommit") -> dict[str, str]:
    """Host by name of VM."""
    return {name: p.host for p in place(batches, loads, metric, "n1") for name in p.names}


@pytest.mark.parametrize(
    ("batches", "loads", "metric", "expected"),
    [
        ([batch("a", "b")], [load("n1")], "cpucommit", {"a": "n1", "b": "n1"}),
        ([batch("a", "b", "c")], [load("n1"), load("n2")], "cpucommit", {"a": "n1", "b": "n2", "c": "n1"}),
        ([batch("a", "b")], [load("n1", cpu=8), load("n2")], "cpucommit", {"a": "n2", "b": "n2"}),
        ([batch("a")], [load("n1", cpus=2, cpu=1), load("n2", cpus=8, cpu=2)], "cpucommit", {"a": "n2"}),
        ([batch("a")], [load("n1", mem=4096), load("n2", cpu=9)], "memcommit", {"a": "n2"}),
        ([batch("a")], [load("n1", net=2), load("n2", net=1, cpu=9)], "netcommit", {"a": "n2"}),
        ([batch("a", schedule="n2")], [load("n1"), load("n2", cpu=9)], "cpucommit", {"a": "n2"}),
        ([batch("a", schedule="localhost")], [load("n1", cpu=9), load("n2")], "cpucommit", {"a": "n1"}),
        ([batch("a", coschedule=0), batch("b")], [load("n1"), load("n2")], "cpucommit", {"a": "n1", "b": "n2"}),
        ([batch("a")], [load("n1", vms=1, limit=1), load("n2", vms=9, cpu=9)], "cpucommit", {"a": "n2"}),
        ([batch("a", coschedule=1), batch("b", coschedule=1)], [load("n1")], "cpucommit", {"a": "n1", "b": "n1"}),
    ],
)
def test_place(batches: list[Batch], loads: list[HostLoad], metric: str, expected: dict[str, str]) -> None:
    assert placed(batches, loads, metric) == expected


@pytest.mark.parametrize(
    ("batches", "loads", "sentence"),
    [
        ([batch("a", schedule="nX")], [load("n1")], "VM scheduled on unknown host: `nX`"),
        (
            [batch("a", "b", coschedule=0)],
            [load("n1")],
            "too many VMs scheduled on n1 for coschedule requirement of 0",
        ),
        (
            [batch("a", coschedule=1)],
            [load("n1", vms=2)],
            "too many VMs scheduled on n1 for coschedule requirement of 1",
        ),
        ([batch("a")], [load("n1", vms=1, limit=1)], "too many VMs scheduled on n1 for coschedule requirement of 0"),
    ],
)
def test_place_refuses(batches: list[Batch], loads: list[HostLoad], sentence: str) -> None:
    with pytest.raises(PlacementError) as caught:
        place(batches, loads, "cpucommit", "n1")
    assert str(caught.value) == sentence


def test_placements_keep_the_order_of_the_batches() -> None:
    result = place([batch("a"), batch("b", "c", schedule="n1")], [load("n1")], "cpucommit", "n1")
    assert [(p.batch, p.names) for p in result] == [(0, ["a"]), (1, ["b", "c"])]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 3), st.sampled_from(["", "n1", "n2"])), max_size=5),
    st.lists(st.integers(0, 4), min_size=2, max_size=2),
)
def test_every_vm_is_placed_once_within_every_limit(specs: list[tuple[int, int, str]], vms: list[int]) -> None:
    batches = [
        batch(*(f"v{index}-{n}" for n in range(count)), coschedule=limit, schedule=host)
        for index, (count, limit, host) in enumerate(specs)
    ]
    loads = [load("n1", vms=vms[0]), load("n2", vms=vms[1])]
    try:
        placements = place(batches, loads, "cpucommit", "n1")
    except PlacementError as error:
        assert "too many VMs" in str(error)
        return
    names = [name for p in placements for name in p.names]
    assert sorted(names) == sorted(name for b in batches for name in b.names)
    for host, before in zip(("n1", "n2"), vms, strict=True):
        here = [p for p in placements if p.host == host]
        total = before + sum(len(p.names) for p in here)
        assert all(total - 1 <= limit for p in here if (limit := batches[p.batch].config.coschedule) >= 0)


def test_what_is_fixed_comes_before_the_load() -> None:
    batches = [batch("a", "b"), batch("c", schedule="n1")]
    loads = [load("n1"), load("n2", cpu=9)]
    placements = place(batches, loads, "cpucommit", "n1", {"b": "n2", "c": "n2", "gone": "nowhere"})
    assert {name: p.host for p in placements for name in p.names} == {"a": "n1", "b": "n2", "c": "n2"}
    with pytest.raises(PlacementError, match="VM scheduled on unknown host: `n9`"):
        place(batches, loads, "cpucommit", "n1", {"b": "n9"})


# --- the step


def begin(table: SchedulerTable, batches: tuple[Batch, ...], hosts: tuple[str, ...]) -> list[Ask]:
    """The questions that a request leads to."""
    return only(Ask, step(table, received(PlaceVms(batches=batches, hosts=hosts), "p", namespace="exp1")))


def test_from_request_to_report() -> None:
    table = SchedulerTable(host="n1")
    asks = begin(table, (batch("a", "b"),), ("n1", "n2", "n1"))
    assert [(ask.to, ask.body) for ask in asks] == [("vm@n1", GetHostLoad()), ("vm@n2", GetHostLoad())]
    assert step(table, answer(asks[1], load("n2"))) == []
    launches = only(Ask, step(table, answer(asks[0], load("n1"))))
    assert [(ask.to, ask.namespace, ask.cause) for ask in launches] == [
        ("vm@n1", "exp1", "p"),
        ("vm@n2", "exp1", "p"),
    ]
    assert [ask.body.names for ask in launches if isinstance(ask.body, LaunchVms)] == [("a",), ("b",)]
    bad = VmReport(results=(VmResult(name="b", error="b: no", host="n2"),), errors=("b: no",))
    good = VmReport(results=(VmResult(name="a", vm_id=0, host="n1"),))
    assert step(table, answer(launches[1], bad)) == []
    effects = step(through_snapshot(table), answer(launches[0], good))
    assert replies(effects) == {"p": VmReport(results=(*good.results, *bad.results), errors=("b: no",))}
    step(table, answer(launches[0], good))
    assert (table.schedules, table.asks) == ({}, {})


def failed(ask: Ask) -> AskFailed:
    """No answer."""
    return AskFailed(tag=ask.tag, code="unreachable", message="nobody is at the address")


def test_a_silent_host_is_no_candidate_and_is_named() -> None:
    table = SchedulerTable(host="n1")
    first, second = begin(table, (batch("a"),), ("n1", "n2"))
    step(table, failed(first))
    (launch,) = only(Ask, step(table, answer(second, load("n2"))))
    assert launch.to == "vm@n2"
    effects = step(table, answer(launch, VmReport()))
    assert replies(effects) == {"p": VmReport(errors=("n1: nobody is at the address",))}


def test_no_host_answers() -> None:
    table = SchedulerTable(host="n1")
    (ask,) = begin(table, (batch("a"),), ("n1",))
    sentence = "no hosts to schedule VMs on; n1: nobody is at the address"
    assert replies(step(table, failed(ask)))["p"] == Fail(msg_id="p", code="unavailable", message=sentence)
    assert table.schedules == {}


def test_a_placement_that_fails_launches_nothing() -> None:
    table = SchedulerTable(host="n1")
    (ask,) = begin(table, (batch("a", schedule="nX"),), ("n1",))
    effects = step(table, answer(ask, load("n1")))
    assert replies(effects)["p"] == Fail(msg_id="p", code="conflict", message="VM scheduled on unknown host: `nX`")
    assert only(Ask, effects) == []


def test_a_launch_that_is_not_answered() -> None:
    table = SchedulerTable(host="n1")
    (ask,) = begin(table, (batch("a", "b"),), ("n1",))
    (launch,) = only(Ask, step(table, answer(ask, load("n1"))))
    report = replies(step(table, failed(launch)))["p"]
    assert isinstance(report, VmReport)
    assert report.errors == ("n1: nobody is at the address",)
    assert [(result.name, result.error) for result in report.results] == [
        ("a", "a: nobody is at the address"),
        ("b", "b: nobody is at the address"),
    ]


@pytest.mark.parametrize(("batches", "hosts"), [((batch("a"),), ())])
def test_no_hosts(batches: tuple[Batch, ...], hosts: tuple[str, ...]) -> None:
    effects = step(SchedulerTable(host="n1"), received(PlaceVms(batches=batches, hosts=hosts), "p"))
    assert replies(effects)["p"] == Fail(msg_id="p", code="invalid", message="no hosts to schedule VMs on")


def test_a_dry_run_tells_hosts_and_launches_nothing() -> None:
    table = SchedulerTable(host="n1")
    request = PlaceVms(batches=(batch("a", "b", "c"),), hosts=("n1", "n2", "n3"), dry_run=True)
    first, second, third = only(Ask, step(table, received(request)))
    assert step(table, answer(first, load("n1"))) == []
    assert step(table, AskFailed(tag=second.tag, code="unreachable", message="nobody at vm@n2")) == []
    results = (VmResult(name="a", host="n1"), VmResult(name="c", host="n1"), VmResult(name="b", host="n3"))
    plan = VmReport(results=results, errors=("n2: nobody at vm@n2",))
    assert replies(step(table, answer(third, load("n3")))) == {"m1": plan}
    assert (table.schedules, table.asks) == ({}, {})
