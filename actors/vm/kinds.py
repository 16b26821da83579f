"""What differs between the kinds of guest, as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bus.messages.vm import GuestKind, VmConfig

MIN_CONTAINER_MEMORY_MIB = 4
"""Below it, setting up the container itself runs out of memory."""
MAX_HOSTNAME = 64
"""Bytes (sethostname(2))."""
MAX_INTERFACES = 64


class Kind(NamedTuple):
    """One kind of guest."""

    driver: str
    """The actor that runs its guests; empty if this version has none."""
    own_netns: bool
    """Whether a guest's process is in a network namespace of its own."""
    shared: Callable[[VmConfig], tuple[str, ...]]
    """Paths that two VMs may use at once only if both are in snapshot mode."""
    shared_word: str
    """What such a path is called in a conflict."""
    refusal: Callable[[VmConfig], str]
    """Why no guest can be made of this configuration, in one sentence; empty if one can."""


def _container_refusal(config: VmConfig) -> str:
    if not config.filesystem:
        return "unable to create container without a configured filesystem"
    if config.memory_mib < MIN_CONTAINER_MEMORY_MIB:
        return f"a container needs at least {MIN_CONTAINER_MEMORY_MIB} MiB of memory, not {config.memory_mib}"
    if config.vcpus < 1:
        return "a container needs at least 1 vcpu"
    if not config.init:
        return "unable to create container without an init program"
    if len(config.hostname.encode()) > MAX_HOSTNAME:
        return f"the hostname has more than {MAX_HOSTNAME} bytes"
    if len(config.networks) > MAX_INTERFACES:
        return f"a container has at most {MAX_INTERFACES} interfaces, not {len(config.networks)}"
    return ""


def _kvm_refusal(config: VmConfig) -> str:
    return "this version cannot run KVM guests"


KINDS = {
    GuestKind.CONTAINER: Kind(
        driver="container",
        own_netns=True,
        shared=lambda config: (config.filesystem,),
        shared_word="filesystem",
        refusal=_container_refusal,
    ),
    GuestKind.KVM: Kind(
        driver="",
        own_netns=False,
        shared=lambda config: config.disks,
        shared_word="disk",
        refusal=_kvm_refusal,
    ),
}

DRIVEN = tuple(kind for kind, data in KINDS.items() if data.driver)
"""The kinds that can have guests."""
