"""Which VM goes to which host: a pure function of the hosts' loads.

Batches with a fixed host come first, then those that want few neighbours, then the larger ones. A VM without a fixed
host goes to the least loaded one; of equally loaded hosts to the one that was chosen longest ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bus.messages.namespace import Batch
from bus.messages.vm import HostLoad, VmConfig

LOCALHOST = "localhost"
NOTHING_FIXED: Mapping[str, str] = {}


class PlacementError(ValueError):
    """The VMs cannot be placed; `str()` is one sentence."""


class Placement(msgspec.Struct):
    """VMs of one batch that go to one host."""

    batch: int
    """Index of the batch."""
    host: str
    names: list[str]


@dataclass
class _Host:
    load: HostLoad
    vms: int
    limit: int
    """VMs that may be there; -1 for any number."""
    vcpus: int
    memory_mib: int
    interfaces: int
    chosen: int = 0
    """Number of the choice that fell on it last."""

    @property
    def full(self) -> bool:
        return 0 <= self.limit <= self.vms

    def add(self, config: VmConfig, choice: int) -> None:
        """Promise a VM what it is configured for."""
        if config.coschedule >= 0:
            own = config.coschedule + 1
            self.limit = own if self.limit < 0 else min(self.limit, own)
        self.vms += 1
        self.vcpus += config.vcpus
        self.memory_mib += config.memory_mib
        self.interfaces += len(config.networks)
        self.chosen = choice


METRICS: dict[str, Callable[[_Host], float]] = {
    "cpucommit": lambda host: host.vcpus / max(host.load.cpus, 1),
    "memcommit": lambda host: host.memory_mib / max(host.load.mem_total_mib, 1),
    "netcommit": lambda host: host.interfaces,
}
"""What makes a host loaded."""


def place(
    batches: Sequence[Batch],
    loads: Sequence[HostLoad],
    metric: str,
    own_host: str,
    fixed: Mapping[str, str] = NOTHING_FIXED,
) -> list[Placement]:
    """The placements, batch by batch in the order given; raises PlacementError, and then nothing may be launched.

    `fixed` is the host of VMs, by name, for which it has been decided already.
    """
    if metric not in METRICS:
        raise PlacementError(f"there is no load metric `{metric}`")
    hosts = {load.host: _host(load) for load in loads}
    pinned = {index: _pin(batch.config.schedule, hosts, own_host) for index, batch in enumerate(batches)}
    placements: dict[tuple[int, str], Placement] = {}
    choice = 0
    for index in sorted(range(len(batches)), key=lambda i: _urgency(batches[i])):
        for name in batches[index].names:
            choice += 1
            host = (
                _pin(fixed.get(name, ""), hosts, own_host)
                or pinned[index]
                or _least_loaded(hosts.values(), METRICS[metric])
            )
            host.add(batches[index].config, choice)
            if 0 <= host.limit < host.vms:
                where, limit = host.load.host, host.limit - 1
                raise PlacementError(f"too many VMs scheduled on {where} for coschedule requirement of {limit}")
            key = (index, host.load.host)
            placements.setdefault(key, Placement(batch=index, host=host.load.host, names=[])).names.append(name)
    return [placements[key] for key in sorted(placements)]


def _host(load: HostLoad) -> _Host:
    return _Host(
        load=load,
        vms=load.vms,
        limit=load.vm_limit,
        vcpus=load.cpu_commit,
        memory_mib=load.mem_commit_mib,
        interfaces=load.net_commit,
    )


def _pin(schedule: str, hosts: dict[str, _Host], own_host: str) -> _Host | None:
    if not schedule:
        return None
    host = hosts.get(own_host if schedule == LOCALHOST else schedule)
    if host is None:
        raise PlacementError(f"VM scheduled on unknown host: `{schedule}`")
    return host


def _urgency(batch: Batch) -> tuple[bool, bool, int, int]:
    config = batch.config
    limited = config.coschedule >= 0
    return (not config.schedule, not limited, config.coschedule if limited else 0, -len(batch.names))


def _least_loaded(hosts: Iterable[_Host], metric: Callable[[_Host], float]) -> _Host:
    return min(hosts, key=lambda host: (host.full, metric(host), host.chosen))
