"""Placement of queued VMs over the hosts of a namespace."""

from __future__ import annotations

from bus.messages.base import Request
from bus.messages.namespace import Batch
from bus.messages.vm import VmReport


class PlaceVms(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="schedule.place"):
    """Choose a host for every VM and launch it there; answered when each is BUILDING or has failed."""

    batches: tuple[Batch, ...]
    hosts: tuple[str, ...]
    load_metric: str = "cpucommit"
