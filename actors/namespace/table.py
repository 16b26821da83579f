"""The state of the `namespace` actor: every namespace with its drafts and queue, and the launches under way."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from actors.namespace.queued import Queued
from actors.namespace.vlans import VlanBook, started_with
from bus.actor.step import Input
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.namespace import DEFAULT_METRIC, Batch
from bus.messages.schedule import ScheduleRun
from bus.messages.vm import VmConfig
from bus.settings.vlan_range import DEFAULT_RANGE


class Located(Input, frozen=True, kw_only=True, tag="namespace.located"):
    """First input of every start: where the actor runs."""

    host: str
    files_dir: str
    vlans: tuple[int, int] = DEFAULT_RANGE
    """The numbers that VLAN aliases get, as this host was started."""


class Namespace(msgspec.Struct, dict=True):
    """One namespace. What is not declared here is no part of the state."""

    hosts: tuple[str, ...]
    draft: VmConfig = msgspec.field(default_factory=VmConfig)
    saved: dict[str, VmConfig] = {}
    queue: list[Batch] = []
    """VMs that wait for a launch; one without a name gets it then."""
    queueing: bool = False
    next_auto: int = 0
    """Of the names vm-0, vm-1, ..."""
    load_metric: str = DEFAULT_METRIC
    runs: list[ScheduleRun] = []
    """Of the scheduler that have ended, oldest first."""
    plan: dict[str, str] = {}
    """Name of a queued VM to its host, as the last dry run chose or a user changed it; empty once the queue changes."""

    @property
    def queued(self) -> Queued:
        """What is in the queue."""
        known: Queued | None = self.__dict__.get("_queued")
        if known is None or not known.follows(self.queue):
            known = self.__dict__["_queued"] = Queued(self.queue)
            known.follows(self.queue)
        return known


class Launch(msgspec.Struct):
    """A launch under way: first it is asked which names are taken, then the scheduler places the VMs."""

    namespace: str
    batch: Batch | None = None
    """What the command queues; None if it only launches what is queued."""
    open: int = 0
    """Hosts that have not said yet which names are taken."""
    taken: dict[str, str] = {}
    """Name to UUID, over all hosts."""
    queued: list[Batch] = []
    """What was in the queue, to be put back if the placement fails."""
    placed: list[Batch] = []
    """The same with all names, at the scheduler."""
    dry_run: bool = False
    """Nothing is launched, and the queue stays."""
    started_s: float = 0.0
    """When the scheduler was asked; 0 if it has not been yet."""
    hosts: int = 0
    """Candidates."""


class Clone(msgspec.Struct):
    """A `vm config clone` under way."""

    namespace: str
    vm: str
    open: int
    failure: str = ""
    """Why a host could not answer."""
    failure_code: str = ""


class Destruction(msgspec.Struct):
    """The end of a namespace under way."""

    namespace: str
    open: int
    """Hosts that are not through."""
    found: bool = False
    """Whether a host had VMs of it."""
    errors: list[str] = []
    also: list[str] = []
    """Ids of further requests for the same."""
    in_use: list[int] = []
    """VLANs into which something is plugged, of other namespaces."""
    all_in_use: bool = False
    """A host could not say which."""


class Clearing(msgspec.Struct):
    """A `clear vlans` under way: hosts are asked which numbers are in use."""

    namespace: str
    prefix: str
    open: int
    in_use: list[int] = []
    all_in_use: bool = False
    """A host could not say it."""


class NamespaceTable(msgspec.Struct):
    """All that the actor must not forget."""

    host: str
    files_dir: str
    namespaces: dict[str, Namespace] = {}
    launches: dict[str, Launch] = {}
    """By id of the request."""
    clones: dict[str, Clone] = {}
    destructions: dict[str, Destruction] = {}
    clearings: dict[str, Clearing] = {}
    vlans: VlanBook = VlanBook()
    asks: dict[str, str] = {}
    """Tag of an open ask to the id of the request that it is for."""

    def get(self, name: str) -> Namespace:
        """A namespace as it is, or as it would be if it existed."""
        return self.namespaces.get(name) or Namespace(hosts=(self.host,))

    def make(self, name: str) -> Namespace:
        """A namespace, which exists from now on."""
        return self.namespaces.setdefault(name, self.get(name))

    def placed_batches(self, name: str) -> Iterator[Batch]:
        """VMs of a namespace that are on their way to a host."""
        for launch in self.launches.values():
            if launch.namespace == name:
                yield from launch.placed


def first_table(host: str, files_dir: str) -> NamespaceTable:
    """The state before anything has happened: the default namespace."""
    return NamespaceTable(host=host, files_dir=files_dir, namespaces={DEFAULT_NAMESPACE: Namespace(hosts=(host,))})


def locate(table: NamespaceTable, where: Located) -> None:
    """The host may have been renamed, and the base directory moved."""
    if where.host != table.host:
        for namespace in table.namespaces.values():
            namespace.hosts = tuple(where.host if host == table.host else host for host in namespace.hosts)
            namespace.plan = {}
    table.host, table.files_dir = where.host, where.files_dir
    table.vlans = started_with(table.vlans, *where.vlans)
