"""VMs as users see them: configuration, states, the requests of the `vm` actor and the events it publishes."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import WILDCARD, Ack, Event, Message, Query, Request
from bus.messages.network import Netspec


class GuestKind(StrEnum):
    """What runs a guest; the value is what users type."""

    KVM = "kvm"
    CONTAINER = "container"


class VmState(StrEnum):
    """State of a VM; the value is what scripts read."""

    BUILDING = "BUILDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    QUIT = "QUIT"
    ERROR = "ERROR"


LIVE_STATES = frozenset({VmState.BUILDING, VmState.RUNNING, VmState.PAUSED})
"""States in which a guest exists and can be killed."""
MAX_WINDOW_S = 3600
"""Of one measurement."""


class VmConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One `vm config`; those of the other kind are ignored at launch. How words become it: `bus.language.vm_config`."""

    uuid: str = ""
    vcpus: int = 1
    memory_mib: int = 2048
    snapshot: bool = True
    schedule: str = ""
    coschedule: int = -1
    backchannel: bool = True
    networks: tuple[Netspec, ...] = ()
    """Its interfaces, by index; at most `bus.language.netspec.MAX_INTERFACES`."""
    tags: dict[str, str] = {}

    qemu: str = ""
    kernel: str = ""
    initrd: str = ""
    cdrom: str = ""
    migrate: str = ""
    disks: tuple[str, ...] = ()
    cpu: str = "host"
    serial_ports: int = 0
    virtio_ports: int = 0
    append: tuple[str, ...] = ()
    qemu_append: tuple[str, ...] = ()
    qemu_overrides: tuple[tuple[str, str], ...] = ()

    filesystem: str = ""
    hostname: str = ""
    init: tuple[str, ...] = ("/init",)
    preinit: str = ""
    fifos: int = 0
    volumes: dict[str, str] = {}
    """Target inside to source on the host."""
    processes: int = 4096
    """How many processes and threads there may be inside."""
    seccomp: bool = True


class VmInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One VM as its owner sees it."""

    vm_id: int
    name: str
    namespace: str
    host: str
    kind: GuestKind
    state: VmState
    uuid: str
    created_s: float
    """UTC seconds since 1970 at which the record was made."""
    uptime_s: float = 0.0
    """Seconds since the guest was last launched; stands still once it has ended."""
    config: VmConfig
    tags: dict[str, str] = {}
    pid: int = 0
    """Of PID 1 or QEMU on the host; 0 when none runs."""
    vnc_port: int = 0
    console_port: int = 0


class VmList(Message, frozen=True, kw_only=True, omit_defaults=True, tag="vm.list"):
    """VMs of one namespace on one host, by id."""

    vms: tuple[VmInfo, ...]
    missing: tuple[str, ...] = ()
    """Names and ids of the target that are not there, if it has several."""


class GetVms(Query[VmList], frozen=True, kw_only=True, omit_defaults=True, tag="vm.list.get"):
    """VMs of the envelope's namespace that match; `not_found` (`vm not found: X`) if a single target is unknown."""

    target: str = WILDCARD


class VmNames(Message, frozen=True, kw_only=True, tag="vm.names"):
    """Name to UUID of the VMs of one namespace on one host."""

    uuids: dict[str, str]


class GetVmNames(Query[VmNames], frozen=True, kw_only=True, tag="vm.names.get"):
    """Which names and UUIDs are taken in the envelope's namespace?"""


class VmResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one VM of a command."""

    name: str
    vm_id: int = -1
    """-1 if none was made."""
    error: str = ""
    host: str = ""


class VmReport(Message, frozen=True, kw_only=True, omit_defaults=True, tag="vm.report"):
    """What became of each VM that a command named; `errors` are the sentences for the user, in order."""

    results: tuple[VmResult, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What guests that were made go without, each sentence once."""


class LaunchVms(Request[VmReport], frozen=True, kw_only=True, tag="vm.launch"):
    """Make these VMs on this host, one per name, and bring each to BUILDING. Sent by the scheduler."""

    kind: GuestKind
    config: VmConfig
    names: tuple[str, ...]


class StartVms(Request[VmReport], frozen=True, kw_only=True, tag="vm.start"):
    """Run or resume; a VM named in so many words is relaunched from QUIT and ERROR too."""

    target: str


class StopVms(Request[VmReport], frozen=True, kw_only=True, tag="vm.stop"):
    """Pause running VMs."""

    target: str


class KillVms(Request[VmReport], frozen=True, kw_only=True, tag="vm.kill"):
    """End VMs at once; answered when they are gone."""

    target: str


class FlushVms(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="vm.flush"):
    """Forget ended VMs and remove what they left."""

    target: str = WILDCARD


class TagVms(Request[VmReport], frozen=True, kw_only=True, tag="vm.tag"):
    """Set a tag; the wildcard as key is refused."""

    target: str
    key: str
    value: str


class ClearVmTags(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="vm.tag.clear"):
    """Remove one tag, or every tag with the wildcard."""

    target: str = WILDCARD
    key: str = WILDCARD


class WireVms(Request[Ack], frozen=True, kw_only=True, tag="vm.wire"):
    """These VMs are about to get interfaces: from now on those are plugged in and removed with each of their guests.

    VMs that were launched with interfaces need not be named. Sent before `network` is asked to add some.
    """

    target: str


class VmInterfaces(msgspec.Struct, frozen=True, kw_only=True):
    """The interfaces of one VM as they are now, by index."""

    vm_id: int
    taps: tuple[str, ...]
    networks: tuple[Netspec, ...]
    revision: int
    """Of two reports about a VM the one with the smaller number is older."""


class ReportInterfaces(Request[Ack], frozen=True, kw_only=True, tag="vm.interfaces"):
    """Interfaces of these VMs have been added, or plugged in elsewhere. Sent by `network`."""

    vms: tuple[VmInterfaces, ...]


class VmUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `vm top`. Sizes in bytes, times in seconds, cpu in percent of one CPU; rates only `network` knows."""

    vm_id: int = -1
    name: str
    virt_bytes: int
    res_bytes: int
    shr_bytes: int
    cpu_percent: float
    vcpu_percent: float
    time_s: float
    processes: int


class VmUsages(Message, frozen=True, kw_only=True, tag="vm.usages"):
    """Usage of the VMs whose processes could be read."""

    usages: tuple[VmUsage, ...]


class TopVms(Query[VmUsages], frozen=True, kw_only=True, omit_defaults=True, tag="vm.top"):
    """Measure over a window, of at most an hour."""

    window_s: float = 1.0


class HostLoad(Message, frozen=True, kw_only=True, omit_defaults=True, tag="vm.load"):
    """What the scheduler and `host` want to know; commitments count living VMs of all namespaces."""

    host: str
    cpus: int
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mem_total_mib: int
    mem_used_mib: int
    vms: int
    vm_limit: int = -1
    """Smallest coschedule limit plus one, or -1."""
    cpu_commit: int = 0
    mem_commit_mib: int = 0
    net_commit: int = 0
    uptime_s: float = 0.0


class GetHostLoad(Query[HostLoad], frozen=True, kw_only=True, tag="vm.load.get"):
    """How busy is this host?"""


class VmCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many VMs of a namespace are of one kind and in one state."""

    namespace: str
    kind: GuestKind
    state: VmState
    count: int


class VmCounts(Message, frozen=True, kw_only=True, tag="vm.counts"):
    """VMs of all namespaces on one host."""

    counts: tuple[VmCount, ...]


class GetVmCounts(Query[VmCounts], frozen=True, kw_only=True, tag="vm.counts.get"):
    """How many VMs are there, in which states?"""


class VmEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="vm.event"):
    """Base of the life-cycle events on `vm/<namespace>/<name>/<what>/`."""

    vm_id: int
    name: str
    uuid: str
    kind: GuestKind
    state: VmState
    pid: int = 0


class VmLaunched(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.launched"):
    """The guest exists and waits (BUILDING)."""


class VmStarted(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.started"):
    """The guest runs, for the first time or again."""


class VmStopped(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.stopped"):
    """The guest is paused."""


class VmQuit(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.quit"):
    """The guest was killed or ended well."""


class VmFailed(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.failed"):
    """The guest could not be made, or ended badly (ERROR)."""

    error: str


class VmFlushed(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.flushed"):
    """The record and all that belonged to it are gone."""


class VmTagged(VmEvent, frozen=True, kw_only=True, omit_defaults=True, tag="vm.tagged"):
    """Tags have changed; all of them are here."""

    tags: dict[str, str] = {}
