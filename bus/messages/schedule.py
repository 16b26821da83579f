"""Placement of queued VMs over the hosts of a namespace, and the history of it."""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Message, Query, Request
from bus.messages.namespace import DEFAULT_METRIC, Batch
from bus.messages.vm import VmReport


class PlaceVms(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="schedule.place"):
    """Choose a host for every VM and launch it there; answered when each is BUILDING or has failed."""

    batches: tuple[Batch, ...]
    hosts: tuple[str, ...]
    load_metric: str = DEFAULT_METRIC
    dry_run: bool = False
    """Choose only: the results say which VM would go to which host."""
    fixed: dict[str, str] = {}
    """Name of a VM to its host, where that has been decided already."""


class Plan(Message, frozen=True, kw_only=True, tag="schedule.plan"):
    """Name of each queued VM to the host it would go to."""

    hosts: dict[str, str]


class GetPlan(Query[Plan], frozen=True, kw_only=True, tag="schedule.plan.get"):
    """What did the last dry run for the envelope's namespace choose? `invalid` if the queue has changed since.

    Asked of `namespace`.
    """


class ChangePlan(Request[Ack], frozen=True, kw_only=True, tag="schedule.plan.change"):
    """Let queued VMs go to another host than the dry run chose; the next launch keeps to it. Asked of `namespace`."""

    target: str
    host: str


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of the scheduler for a namespace. Times are UTC seconds since 1970."""

    started_s: float
    ended_s: float = 0.0
    """0 while it runs."""
    launched: int = 0
    """VMs that were made."""
    failures: int = 0
    """VMs that could not be made."""
    total: int
    """VMs that were to be made; those that are in neither number have a fate that nobody could report."""
    hosts: int
    """Candidates."""


class Schedules(Message, frozen=True, kw_only=True, tag="schedule.list"):
    """Runs of the scheduler, oldest first."""

    runs: tuple[ScheduleRun, ...]


class GetSchedules(Query[Schedules], frozen=True, kw_only=True, tag="schedule.list.get"):
    """How often was the scheduler run for the envelope's namespace, and with what outcome? Asked of `namespace`."""
