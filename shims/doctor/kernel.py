"""The section of the kernel: what containers are made of."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shims.doctor.feature import Feature, Section, State, is_present
from shims.doctor.modules import Module, Modules
from shims.doctor.source import Source
from shims.linux.libc import LIBC

KERNEL: Final = (5, 9)
"""The latest of the system calls used: close_range(2)."""
NAMESPACES: Final = {"ipc": "IPC_NS", "mnt": "NAMESPACES", "net": "NET_NS", "pid": "PID_NS", "uts": "UTS_NS"}
"""By name in /proc/self/ns, with the kernel's option."""
FILE_SYSTEMS: Final = ("devpts", "proc", "sysfs", "tmpfs")
DENIED: Final = "/dev/kvm is not this user's to open"
_NO_CONTAINERS: Final = "launching containers"
_SYS_CLONE3: Final = 435
_KVM_GET_API_VERSION: Final = 0xAE00


@dataclass(frozen=True)
class KernelFacts:
    """What was found."""

    release: str = ""
    namespaces: frozenset[str] = frozenset()
    file_systems: frozenset[str] = frozenset()
    loadable: frozenset[str] = frozenset()
    """File systems that a mount would load a module for."""
    perhaps: frozenset[str] = frozenset()
    """Those that it may load a module for."""
    calls: frozenset[str] = frozenset()
    """Of clone3 and pidfd_open, those that exist."""
    user_namespaces: int | None = None
    """How many may be made; None if that is not told."""
    terminals: bool = False
    """/dev/ptmx can be opened."""
    fuse: bool = False
    """/dev/fuse is there."""
    filters: bool = False
    """The kernel filters system calls."""
    kvm: str = ""
    """Why /dev/kvm cannot be opened; empty if it can be."""
    kvm_version: int = 0
    tried: Mapping[str, str] = field(default_factory=dict)
    """Outcomes of `tries`."""


def look(source: Source, modules: Modules, tried: Mapping[str, str]) -> KernelFacts:
    """Look them up."""
    known = {line.split()[-1] for line in source.text("/proc/filesystems").splitlines() if line.strip()}
    names = {*FILE_SYSTEMS, "overlay", "fuse"}
    kvm, version = _look_at_kvm(source, modules)
    return KernelFacts(
        release=os.uname().release,
        namespaces=frozenset(name for name in (*NAMESPACES, "user") if source.exists(f"/proc/self/ns/{name}")),
        file_systems=frozenset(known),
        loadable=frozenset(name for name in names - known if modules.state(name) is Module.LOADABLE),
        perhaps=frozenset(name for name in names - known if modules.state(name) is Module.PERHAPS),
        calls=_look_at_calls(),
        user_namespaces=source.number("/proc/sys/user/max_user_namespaces"),
        terminals=_has_terminals(source),
        fuse=source.exists("/dev/fuse"),
        filters="errno" in source.text("/proc/sys/kernel/seccomp/actions_avail").split(),
        kvm=kvm,
        kvm_version=version,
        tried=tried,
    )


def judge(facts: KernelFacts) -> list[Feature]:
    """The features of these facts."""
    return [
        _version(facts),
        *(_namespace(facts, name, option) for name, option in NAMESPACES.items()),
        _user_namespaces(facts),
        *(_call(facts, name) for name in ("clone3", "pidfd_open")),
        *(_file_system(facts, name) for name in FILE_SYSTEMS),
        _overlay(facts),
        _terminals(facts),
        _filters(facts),
        _fuse(facts),
        _kvm(facts),
    ]


def _version(facts: KernelFacts) -> Feature:
    needed = ".".join(map(str, KERNEL))
    found = re.match(r"(\d{1,9})\.(\d{1,9})", facts.release)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return Feature(
        section=Section.KERNEL,
        name=f"Linux {needed}",
        state=is_present(version >= KERNEL),
        found=facts.release,
        costs=_NO_CONTAINERS,
        advice=f"boot a kernel of version {needed} or later; this is {facts.release}",
        required=True,
    )


def _namespace(facts: KernelFacts, name: str, option: str) -> Feature:
    return Feature(
        section=Section.KERNEL,
        name=f"{name} namespaces",
        state=is_present(name in facts.namespaces),
        costs=_NO_CONTAINERS,
        advice=f"boot a kernel with CONFIG_{option}",
        required=True,
    )


def _user_namespaces(facts: KernelFacts) -> Feature:
    there, forbidden = "user" in facts.namespaces, facts.user_namespaces == 0
    return Feature(
        section=Section.KERNEL,
        name="user namespaces",
        state=is_present(there and not forbidden),
        found="the host allows none" if there and forbidden else "",
        costs="keeping root in a container out of the networks of others",
        command="sysctl -w user.max_user_namespaces=1024" if there and forbidden else "",
        advice="" if there and forbidden else "boot a kernel with CONFIG_USER_NS",
    )


def _call(facts: KernelFacts, name: str) -> Feature:
    return Feature(
        section=Section.KERNEL,
        name=name,
        state=is_present(name in facts.calls),
        costs=_NO_CONTAINERS,
        advice=f"boot a newer kernel; where minibus itself runs in a container, allow {name} in its seccomp profile",
        required=True,
    )


def _file_system(facts: KernelFacts, name: str) -> Feature:
    state, found = _found(facts, name)
    outcome = facts.tried.get(name, "")
    return Feature(
        section=Section.KERNEL,
        name=name,
        state=State.MISSING if outcome else state,
        found=outcome or found,
        costs=_NO_CONTAINERS,
        advice=f"boot a kernel that has the file system {name}",
        required=True,
    )


def _overlay(facts: KernelFacts) -> Feature:
    state, found = _found(facts, "overlay")
    return Feature(
        section=Section.KERNEL,
        name="overlay",
        state=state,
        found=found,
        costs="containers that share a file system without changing it, which is `vm config snapshot true`",
        advice="boot a kernel with CONFIG_OVERLAY_FS, or set `vm config snapshot false`",
    )


def _found(facts: KernelFacts, file_system: str) -> tuple[State, str]:
    if file_system in facts.file_systems:
        return State.OK, ""
    if file_system in facts.loadable:
        return State.OK, "a module, loaded with its first use"
    if file_system in facts.perhaps:
        return State.UNKNOWN, "perhaps a module: the list of this kernel's modules is not here"
    return State.MISSING, ""


def _terminals(facts: KernelFacts) -> Feature:
    return Feature(
        section=Section.KERNEL,
        name="pseudo-terminals",
        state=is_present(facts.terminals),
        costs="consoles for containers, and so no containers",
        command=""
        if facts.terminals
        else "mkdir -p /dev/pts && mount -t devpts -o ptmxmode=0666 devpts /dev/pts && ln -sf pts/ptmx /dev/ptmx",
        required=True,
    )


def _filters(facts: KernelFacts) -> Feature:
    return Feature(
        section=Section.KERNEL,
        name="seccomp",
        state=is_present(facts.filters),
        costs="keeping containers from regaining capabilities by system calls, which is `vm config seccomp true`",
        advice="boot a kernel with CONFIG_SECCOMP_FILTER",
    )


def _fuse(facts: KernelFacts) -> Feature:
    """The device is there from the start where the module is listed (modules.devname), else with the module."""
    state, found = _found(facts, "fuse")
    return Feature(
        section=Section.KERNEL,
        name="FUSE",
        state=state if facts.fuse or state is State.MISSING else State.MISSING,
        found=found if facts.fuse or state is State.MISSING else "/dev/fuse is missing",
        costs="file systems of guests on this host, which is `cc mount`",
        command="modprobe fuse" if "fuse" in facts.loadable | facts.perhaps else "",
        advice="boot a kernel with CONFIG_FUSE_FS; where minibus itself runs in a container, give it /dev/fuse",
        minor=True,
    )


def _kvm(facts: KernelFacts) -> Feature:
    found = facts.kvm or f"version {facts.kvm_version} of its interface; whether a guest boots shows only by trying"
    return Feature(
        section=Section.KERNEL,
        name="KVM",
        state=State.UNKNOWN if facts.kvm == DENIED else is_present(not facts.kvm),
        found=found,
        costs="speed for KVM guests, once there are any",
        advice="modprobe kvm_intel or kvm_amd; switch on virtualisation in the firmware, or nested in the host of this",
        minor=True,
    )


# --- looking


def _look_at_calls() -> frozenset[str]:
    """An empty clone3 is refused with EINVAL where it exists."""
    found = set()
    if LIBC.syscall(_SYS_CLONE3, None, 0) < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        found.add("clone3")
    with contextlib.suppress(OSError):
        os.close(os.pidfd_open(os.getpid()))
        found.add("pidfd_open")
    return frozenset(found)


def _has_terminals(source: Source) -> bool:
    try:
        os.close(os.open(source.path("/dev/ptmx"), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _look_at_kvm(source: Source, modules: Modules) -> tuple[str, int]:
    """Why it cannot be had, or nothing and the version of its interface; opening its device could load the module."""
    if modules.can_load("kvm"):
        return "the module kvm is not loaded", 0
    try:
        fd = os.open(source.path("/dev/kvm"), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return DENIED if isinstance(error, PermissionError) else f"/dev/kvm: {error.strerror}", 0
    try:
        return "", fcntl.ioctl(fd, _KVM_GET_API_VERSION)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}", 0
    finally:
        os.close(fd)
