"""The section of limits: those that are hit before as many guests run as are expected, and some to know of."""

from __future__ import annotations

from typing import Final, NamedTuple

from shims.doctor.capacity import MIB, Capacity
from shims.doctor.feature import Feature, Section, State
from shims.doctor.figures import Figures

_PACKET_BYTES: Final = 212_992
"""The kernel's default for what a socket may hold."""
_ENOUGH_MAPS: Final = 262_144
_ENOUGH_AIO: Final = 65_536
_ENOUGH_KEYS: Final = 10_000
_WATCHES_OF_ONE: Final = 16_000_000
"""What fits into the 2 GiB that a guest has by default."""
_ENOUGH_MEMORY: Final = 256 * MIB


class _Known(NamedTuple):
    name: str
    wanted: int
    costs: str
    """With a place for what it is."""
    minor: bool = True


def judge(figures: Figures, capacity: Capacity) -> list[Feature]:
    """The features of these figures."""
    return [
        *tight(capacity),
        *_known(figures, capacity.expected),
        _locked_memory(figures),
        _own_memory(figures),
        _swap(figures),
    ]


def tight(capacity: Capacity) -> list[Feature]:
    """What runs out before there are as many guests as are expected."""
    return [
        Feature(
            section=Section.LIMITS,
            name=resource.name,
            state=State.LIMITED,
            found=f"{resource.fits:,} guests",
            costs=f"more than {resource.fits:,} guests at a time",
            command=resource.command,
            advice=resource.advice,
        )
        for resource in capacity.resources
        if resource.fits < capacity.expected
    ]


def _known(figures: Figures, expected: int) -> list[Feature]:
    """Sysctls that guests share with the host, in which minibus itself needs little."""
    table = (
        _Known(
            "net.core.wmem_default",
            _PACKET_BYTES,
            "launching containers with long configurations: packets to the warden hold {} bytes",
            minor=False,
        ),
        _Known(
            "fs.inotify.max_user_instances",
            expected,
            "more than {} programs that watch files (systemd, udevd, tail -f) in all guests together",
        ),
        _Known("fs.inotify.max_user_watches", 8 * expected, "more than {} files watched in all guests together"),
        *(
            _Known(
                f"net.{version}.neigh.default.gc_thresh3",
                2 * expected,
                "more than {} neighbours in all guests together",
            )
            for version in ("ipv4", "ipv6")
        ),
        _Known(
            "fs.epoll.max_user_watches",
            _WATCHES_OF_ONE,
            "protection against a hostile guest: one can take all {} event watches of root, and minibus needs some",
        ),
        _Known("fs.mount-max", 10_000, "more than {} mounts in one guest"),
        _Known("vm.max_map_count", _ENOUGH_MAPS, "programs in guests with more than {} memory maps, such as databases"),
        _Known("fs.aio-max-nr", _ENOUGH_AIO, "more than {} asynchronous requests in all guests together"),
        _Known("kernel.keys.root_maxkeys", _ENOUGH_KEYS, "more than {} keys of root"),
    )
    return [
        Feature(
            section=Section.LIMITS,
            name=known.name,
            state=State.OK if value >= known.wanted else State.LIMITED,
            found=f"{value:,}",
            costs=known.costs.format(f"{value:,}"),
            command=f"sysctl -w {known.name}={known.wanted}",
            minor=known.minor,
        )
        for known in table
        if (value := figures.sysctl(known.name)) is not None
    ]


def _locked_memory(figures: Figures) -> Feature:
    limit = figures.locked_memory_bytes
    return Feature(
        section=Section.LIMITS,
        name="locked memory",
        state=State.OK if limit is None or limit >= MIB else State.LIMITED,
        found="unlimited" if limit is None else f"{limit // 1024:,} KiB",
        costs="rules of devices with cgroup version 2 on kernels before 5.11",
        command="ulimit -l unlimited",
        minor=True,
    )


def _own_memory(figures: Figures) -> Feature:
    left = figures.own_memory_bytes
    return Feature(
        section=Section.LIMITS,
        name="memory of our own cgroup",
        state=State.OK if left is None or left >= _ENOUGH_MEMORY else State.LIMITED,
        found="unlimited" if left is None else f"{left // MIB:,} MiB left",
        costs="the processes of minibus being safe from the kernel's out-of-memory killer",
        advice="raise the memory limit of the service or container that minibus is started in",
        minor=True,
    )


def _swap(figures: Figures) -> Feature:
    return Feature(
        section=Section.LIMITS,
        name="swap",
        state=State.OK,
        found=f"{figures.swap_bytes // MIB:,} MiB free",
        minor=True,
    )
