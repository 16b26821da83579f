"""`ns load` and `ns schedule`: where VMs of a namespace go, and what became of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from bus.messages.base import Request
from bus.messages.namespace import DEFAULT_METRIC, LOAD_METRICS, GetNamespaces, LaunchQueue, SetLoadMetric
from bus.messages.schedule import ChangePlan, GetPlan, GetSchedules, Plan, ScheduleRun, Schedules
from bus.messages.vm import VmReport
from cli.answers.response import Group, Response, Row
from cli.commands.declare import LIFECYCLE_S, QUICK_S, Answer, Args, Call, Command, report

TIME_FORMAT = "%d %b %y %H:%M %Z"


async def _metric(call: Call) -> AsyncIterator[Group]:
    name = call.session.namespace
    reply = await call.engine.ask("namespace", GetNamespaces(), timeout_s=QUICK_S, namespace=name)
    metric = next((info.load_metric for info in reply.namespaces if info.name == name), DEFAULT_METRIC)
    yield Group([Response(call.engine.host, metric)])


def _set_metric(args: Args) -> Request[Any]:
    return SetLoadMetric(metric=args.chosen(*LOAD_METRICS))


def _time(seconds: float) -> str:
    """Local time of the host; empty for 0."""
    return time.strftime(TIME_FORMAT, time.localtime(seconds)) if seconds else ""


def _run_row(run: ScheduleRun) -> Row:
    state = "completed" if run.ended_s else "running"
    counts = (run.launched, run.failures, run.total, run.hosts)
    return (_time(run.started_s), _time(run.ended_s), state, *map(str, counts))


def schedule_table(reply: Schedules, args: Args) -> Answer:
    """One row for each run of the scheduler."""
    header = ("start", "end", "state", "launched", "failures", "total", "hosts")
    return Answer(header=header, rows=[_run_row(run) for run in reply.runs])


def dry_run_table(reply: VmReport, args: Args) -> Answer:
    """Which VM would go to which host, and which hosts did not answer."""
    rows = [(result.name, result.host) for result in reply.results]
    return Answer(header=("vm", "dst"), rows=rows, error="\n".join(reply.errors))


def plan_table(reply: Plan, args: Args) -> Answer:
    """Which VM would go to which host."""
    return Answer(header=("vm", "dst"), rows=list(reply.hosts.items()))


COMMANDS = (
    Command(
        patterns=("ns load",),
        help_short="show what makes a host loaded",
        help_long="VMs without a fixed host go to the least loaded one.",
        run=_metric,
    ),
    Command(
        patterns=tuple(f"ns load <{metric},>" for metric in LOAD_METRICS),
        help_short="choose what makes a host loaded",
        help_long="""\
VMs without a fixed host go to the least loaded one:

	cpucommit	VCPUs of its VMs for each CPU, the default
	memcommit	memory of its VMs for each MiB
	netcommit	interfaces of its VMs""",
        to="namespace",
        request=_set_metric,
    ),
    Command(
        patterns=("ns schedule",),
        help_short="launch the VMs that are queued",
        help_long="The same as `vm launch`.",
        to="namespace",
        request=lambda args: LaunchQueue(),
        answer=report,
        timeout_s=LIFECYCLE_S,
        once=True,
    ),
    Command(
        patterns=("ns schedule dry-run",),
        help_short="show on which hosts queued VMs would be launched",
        help_long="Nothing is launched, and the queue stays as it is.",
        to="namespace",
        request=lambda args: LaunchQueue(dry_run=True),
        answer=dry_run_table,
    ),
    Command(
        patterns=("ns schedule dump",),
        help_short="show once more what the dry run chose",
        help_long="Shows it with the changes that `ns schedule mv` made to it.",
        to="namespace",
        request=lambda args: GetPlan(),
        answer=plan_table,
    ),
    Command(
        patterns=("ns schedule mv <target> <dst>",),
        help_short="launch queued VMs on another host than the dry run chose",
        help_long="""\
After `ns schedule dry-run`: the next launch puts these VMs on that host of the
namespace. It counts until other VMs are queued.

	ns schedule mv web[1-3] n2""",
        to="namespace",
        request=lambda args: ChangePlan(target=args.text("target"), host=args.text("dst")),
    ),
    Command(
        patterns=("ns schedules", "ns schedule status"),
        help_short="show past and running launches of the namespace",
        help_long="""\
One row for each time that VMs were placed on hosts: how many were to be made,
were made and could not be made, and among how many hosts they were spread.""",
        to="namespace",
        request=lambda args: GetSchedules(),
        answer=schedule_table,
    ),
)
