"""The history of launches: one row for each run of the scheduler that placed VMs."""

from __future__ import annotations

from actors.namespace.table import Launch, NamespaceTable
from bus.messages.schedule import ScheduleRun, Schedules
from bus.messages.vm import VmReport

MAX_RUNS = 200
"""Of each namespace; older ones are forgotten."""


def ended(table: NamespaceTable, launch: Launch, report: VmReport, now_s: float) -> None:
    """Note what became of the VMs of a launch."""
    runs = table.make(launch.namespace).runs
    failures = sum(1 for result in report.results if result.error)
    runs.append(_run(launch, now_s, launched=len(report.results) - failures, failures=failures))
    del runs[:-MAX_RUNS]


def history(table: NamespaceTable, name: str) -> Schedules:
    """What has ended, then what still runs."""
    under_way = [_run(launch) for launch in table.launches.values() if launch.namespace == name and launch.started_s]
    return Schedules(runs=(*table.get(name).runs, *under_way))


def _run(launch: Launch, ended_s: float = 0.0, *, launched: int = 0, failures: int = 0) -> ScheduleRun:
    return ScheduleRun(
        started_s=launch.started_s,
        ended_s=ended_s,
        launched=launched,
        failures=failures,
        total=sum(len(batch.names) for batch in launch.placed),
        hosts=launch.hosts,
    )
