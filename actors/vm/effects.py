"""Inputs and effects that only the `vm` actor has: instance directories."""

from __future__ import annotations

import msgspec

from bus.actor.step import Effect, Input


class Located(Input, frozen=True, kw_only=True, tag="vm.located"):
    """First input of every start: where the actor runs and which instance directories it found."""

    host: str
    base: str
    highest_id: int
    """-1 if there is none."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one instance directory; `error` is empty if it worked."""

    vm_id: int
    error: str = ""


class InstancesPrepared(Input, frozen=True, kw_only=True, tag="vm.instances_prepared"):
    """`PrepareInstances` has been carried out."""

    outcomes: tuple[Outcome, ...]


class InstancesRemoved(Input, frozen=True, kw_only=True, tag="vm.instances_removed"):
    """`RemoveInstances` has been carried out."""

    outcomes: tuple[Outcome, ...]


class Instance(msgspec.Struct, frozen=True):
    """What the files of an instance directory hold at first."""

    vm_id: int
    name: str
    config: str
    state: str


class PrepareInstances(Effect, frozen=True, kw_only=True):
    """Make instance directories; comes back as `InstancesPrepared`."""

    instances: tuple[Instance, ...]


class WriteStates(Effect, frozen=True, kw_only=True):
    """Bring state files up to date: id to state."""

    states: dict[int, str]


class WriteTaps(Effect, frozen=True, kw_only=True):
    """Write the files that name the devices of interfaces: id to names."""

    taps: dict[int, tuple[str, ...]]


class WriteConfigs(Effect, frozen=True, kw_only=True):
    """Bring the files that show the configurations of VMs up to date: id to text."""

    configs: dict[int, str]


class LinkNetworks(Effect, frozen=True, kw_only=True):
    """Give the network namespaces of guests the names that ip(8) looks for: id to a process in it, 0: no more."""

    pids: dict[int, int]


class RemoveInstances(Effect, frozen=True, kw_only=True):
    """Remove instance directories with all that is in them; comes back as `InstancesRemoved`."""

    vm_ids: tuple[int, ...]


class WarnOfStrangers(Effect, frozen=True, kw_only=True):
    """Log that a driver has guests which are no VM's."""

    driver: str
    vm_ids: tuple[int, ...]
