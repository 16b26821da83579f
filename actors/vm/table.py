"""The state of the `vm` actor: a record for each VM, the commands under way, the asks they wait for.

One operation at a time is under way for a VM; the work that other commands have for it waits in its record and is
judged when its turn comes. So commands on the same VM take effect one after the other, in the order of their arrival.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.language.vm_names import Target, is_integer
from bus.messages.base import WILDCARD
from bus.messages.guest import GuestExit
from bus.messages.network import Netspec
from bus.messages.vm import LIVE_STATES, GuestKind, VmConfig, VmResult, VmState

ERROR_TAG = "error"
"""The tag that says why a VM is in ERROR."""


class Verb(StrEnum):
    """What a command does to each of its VMs."""

    LAUNCH = "launch"
    START = "start"
    STOP = "stop"
    KILL = "kill"
    FLUSH = "flush"


class Phase(StrEnum):
    """What is being done to a VM just now."""

    IDLE = "idle"
    PREPARING = "preparing"
    """Its instance directory is being made."""
    CREATING = "creating"
    PLUGGING = "plugging"
    """Its guest exists, and its interfaces are being made."""
    DISCARDING = "discarding"
    """Its guest, which should not exist, is being killed to be sure."""
    STARTING = "starting"
    PAUSING = "pausing"
    KILLING = "killing"
    UNPLUGGING = "unplugging"
    """The devices of its interfaces are being removed; the only phase that may be without work."""
    FORGETTING = "forgetting"
    """Its driver drops the ended guest."""
    UNWIRING = "unwiring"
    """What is known of its interfaces is being dropped."""
    REMOVING = "removing"
    """Its instance directory is being removed."""


class Wires(StrEnum):
    """What the actor `network` has of a VM, as far as is known here."""

    NONE = "none"
    KEPT = "kept"
    """Names, addresses and VLANs of its interfaces, for the next launch."""
    PLUGGED = "plugged"
    """Their devices too, or it is not known that there are none."""


class Work(msgspec.Struct):
    """What one command has to do with one VM."""

    job: str
    verb: Verb
    seen: VmState
    """State of the VM when the command arrived."""


class Job(msgspec.Struct):
    """A command under way; answered when nothing of it is open."""

    namespace: str
    wild: bool = False
    """Its target was the wildcard."""
    single: bool = False
    """Its target was one VM, named in so many words."""
    launch: bool = False
    """It makes its VMs; one that fails before the last is made has failed to launch."""
    open: int = 0
    results: list[VmResult] = []
    errors: list[str] = []
    """Sentences about VMs that are not there."""
    warnings: list[str] = []
    """Sentences about what its guests go without."""


class VmRecord(msgspec.Struct):
    """One VM, from its launch until it is flushed."""

    vm_id: int
    name: str
    namespace: str
    uuid: str
    kind: GuestKind
    config: VmConfig
    """As launched, UUID included; a relaunch uses it again."""
    state: VmState
    tags: dict[str, str]
    created_s: float
    launched_s: float
    """Since the host was booted, as is `ended_s`."""
    ended_s: float = 0.0
    """When the guest ended; 0 while it lives."""
    pid: int = 0
    console_port: int = 0
    """TCP port of the guest's console; 0 if there is none."""
    phase: Phase = Phase.IDLE
    work: Work | None = None
    waiting: list[Work] = []
    failure: str = ""
    """Why the guest could not be made, while it is being discarded."""
    wires: Wires = Wires.NONE
    taps: list[str] = []
    """Devices of its interfaces, by index."""
    networks: tuple[Netspec, ...] = ()
    """Its interfaces as they are, which `network` tells; empty as long as it has told nothing."""
    revision_of_networks: int = 0
    """Of what it told last: what is older comes too late."""
    doubtful: bool = False
    """Its driver may have a guest of it although the state says that there is none."""
    early_exits: list[GuestExit] = []
    """Ends reported while the guest was being created: of this guest or of the one before."""
    revision: int = 0
    """Grows with every change of state or phase, so that an older view of the VM is recognised."""

    @property
    def live(self) -> bool:
        """Whether there is a guest."""
        return self.state in LIVE_STATES

    @property
    def has_interfaces(self) -> bool:
        """Whether there is anything to be plugged in."""
        return bool(self.config.networks) or self.wires is not Wires.NONE

    @property
    def present_config(self) -> VmConfig:
        """As launched, but for the interfaces, which are as they are now."""
        return msgspec.structs.replace(self.config, networks=self.networks) if self.networks else self.config

    def uptime_s(self, now_s: float) -> float:
        """Seconds since the guest was launched, or from its launch to its end."""
        return max((self.ended_s or now_s) - self.launched_s, 0.0)


class Call(msgspec.Struct):
    """An open ask to a driver or to `network`, on behalf of these VMs."""

    phase: Phase
    vm_ids: list[int]


class Audit(msgspec.Struct):
    """An open question to a driver about all its guests; revisions of the idle VMs when it was asked."""

    kind: GuestKind
    revisions: dict[int, int]


class VmTable(msgspec.Struct):
    """All that the actor must not forget."""

    host: str = ""
    base: str = ""
    """Instance directories lie in it, named by id."""
    next_id: int = 0
    next_call: int = 0
    vms: dict[int, VmRecord] = {}
    jobs: dict[str, Job] = {}
    calls: dict[str, Call] = {}
    audits: dict[str, Audit] = {}

    def of_namespace(self, namespace: str) -> list[VmRecord]:
        """VMs of one namespace, by id."""
        return [vm for _, vm in sorted(self.vms.items()) if vm.namespace == namespace]

    def matching(self, namespace: str, target: Target) -> tuple[list[VmRecord], list[str]]:
        """The VMs of the namespace that the target means, by id, and the items that mean none."""
        members = self.of_namespace(namespace)
        if target.wild:
            return members, []
        by_name: dict[str, VmRecord] = {vm.name: vm for vm in members}
        by_name.update({str(vm.vm_id): vm for vm in members})
        found: dict[int, VmRecord] = {}
        missing = []
        for item in target.items:
            vm = by_name.get(str(int(item)) if is_integer(item) else item)
            if vm is None:
                missing.append(item)
            else:
                found[vm.vm_id] = vm
        return [found[vm_id] for vm_id in sorted(found)], missing


def not_found(item: str) -> str:
    """The sentence about a target that does not exist."""
    return f"vm not found: {item}"


def state_error(vm: VmRecord) -> str:
    """The sentence about a VM whose state does not allow what is wanted."""
    return f"VM state error: {vm.name}"


def remove_tags(vm: VmRecord, key: str) -> bool:
    """Remove one tag, or all with the wildcard; says whether anything changed."""
    before = len(vm.tags)
    vm.tags = {} if key == WILDCARD else {k: v for k, v in vm.tags.items() if k != key}
    return len(vm.tags) != before
