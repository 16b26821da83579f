"""`ns load`, `ns schedule` and `vm launch` with a saved configuration: what they ask and what they show."""

from __future__ import annotations

import re

import pytest

from bus.errors import NotFoundError
from bus.messages.base import Ack
from bus.messages.namespace import (
    GetNamespaces,
    LaunchQueue,
    NamespaceInfo,
    NamespaceList,
    QueueVms,
    SetLoadMetric,
)
from bus.messages.schedule import ChangePlan, GetPlan, GetSchedules, Plan, ScheduleRun, Schedules
from bus.messages.vm import GuestKind, VmReport, VmResult
from tests.unit.cli.stand_ins import EngineBench

NAMESPACES = NamespaceList(namespaces=(NamespaceInfo(name="x", hosts=("n1",), load_metric="memcommit"),))


async def test_the_load_metric_of_the_own_namespace() -> None:
    bench = EngineBench({GetNamespaces: NAMESPACES})
    assert await bench.text("ns load") == "cpucommit"
    assert await bench.text("namespace x ns load") == "memcommit"


@pytest.mark.parametrize(("typed", "metric"), [("netcommit", "netcommit"), ("n", "netcommit"), ("m", "memcommit")])
async def test_setting_the_load_metric(typed: str, metric: str) -> None:
    bench = EngineBench({SetLoadMetric: Ack()})
    assert await bench.text(f"ns load {typed}") == ""
    assert [asked.request for asked in bench.bus.asked] == [SetLoadMetric(metric=metric)]


async def test_a_launch_with_a_saved_configuration() -> None:
    bench = EngineBench({QueueVms: VmReport()})
    assert await bench.text("vm launch container web[1-2] small") == ""
    assert await bench.error('vm launch container web ""') == "the name of a saved configuration cannot be empty"
    assert [asked.request for asked in bench.bus.asked] == [
        QueueVms(kind=GuestKind.CONTAINER, names="web[1-2]", config="small")
    ]


async def test_a_saved_configuration_that_does_not_exist() -> None:
    bench = EngineBench({QueueVms: NotFoundError("config big does not exist")})
    assert await bench.error("vm launch kvm a big") == "config big does not exist"


async def test_the_plan() -> None:
    plan = VmReport(results=(VmResult(name="a", host="n1"),), errors=("n2: nobody",))
    bench = EngineBench({LaunchQueue: plan})
    response = await bench.one("ns schedule dry-run")
    assert (response.header, response.rows, response.error) == (("vm", "dst"), [("a", "n1")], "n2: nobody")
    assert await bench.error("ns schedule") == "n2: nobody"
    assert [asked.request for asked in bench.bus.asked] == [LaunchQueue(dry_run=True), LaunchQueue()]


async def test_the_plan_again_and_changed() -> None:
    bench = EngineBench({GetPlan: Plan(hosts={"b": "n2", "a": "n1"}), ChangePlan: Ack()})
    response = await bench.one("ns schedule dump")
    assert (response.header, response.rows) == (("vm", "dst"), [("b", "n2"), ("a", "n1")])
    assert await bench.text("ns schedule mv web[1-3] n2") == ""
    assert bench.bus.asked[-1].request == ChangePlan(target="web[1-3]", host="n2")


@pytest.mark.parametrize("line", ["ns schedules", "ns schedule status"])
async def test_the_history(line: str) -> None:
    runs = (
        ScheduleRun(started_s=86_400.0, ended_s=86_460.0, launched=2, failures=1, total=3, hosts=1),
        ScheduleRun(started_s=86_500.0, total=4, hosts=2),
    )
    response = await EngineBench({GetSchedules: Schedules(runs=runs)}).one(line)
    assert response.header == ("start", "end", "state", "launched", "failures", "total", "hosts")
    assert response.rows is not None
    ended, running = response.rows
    for cell in (ended[0], ended[1], running[0]):
        assert re.fullmatch(r"\d\d Jan 70 \d\d:\d\d \S+", cell), cell
    assert ended[2:] == ("completed", "2", "1", "3", "1")
    assert running[1:] == ("", "running", "0", "0", "4", "2")
