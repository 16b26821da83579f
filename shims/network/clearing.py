"""What the networks of a base directory have left on this host, and how it goes without anything that runs."""

from __future__ import annotations

import contextlib
import os

from shims.netlink import links
from shims.netlink.links import Link
from shims.netlink.netlink import Netlink
from shims.network import netns
from shims.network.fabric import KernelFabric
from shims.network.host_ends import HostEnds, read_note
from shims.network.segments import GUESTS, HOST_TAPS


def devices(tag: str) -> list[str]:
    """Interfaces of guests and host taps, and interfaces of the host that are plugged in; raises OSError."""
    inside = [link.name for link in _in_fabric(tag) if link.group in (GUESTS, HOST_TAPS) or read_note(link.alias)]
    return [*(f"device {name} (in {netns.path(tag)})" for name in inside), *(f"device {name}" for name in _marked(tag))]


def left(tag: str) -> list[str]:
    """The same, and the network namespace that they are in; raises OSError."""
    own = [f"network namespace {netns.path(tag)}"] if os.path.lexists(netns.path(tag)) else []
    return [*devices(tag), *own]


def clear(tag: str) -> None:
    """Remove all of it.

    Raises OSError or FabricError, and goes no further, if an interface of the host cannot be given back.
    """
    KernelFabric(tag).destroy()


def _in_fabric(tag: str) -> list[Link]:
    if not netns.exists(tag):
        return []
    descriptor = os.open(netns.path(tag), os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netns.inside(descriptor), contextlib.closing(Netlink()) as netlink:
            return links.listed(netlink)
    finally:
        os.close(descriptor)


def _marked(tag: str) -> list[str]:
    with contextlib.closing(Netlink()) as host:
        return HostEnds(host, -1, tag).marked()
