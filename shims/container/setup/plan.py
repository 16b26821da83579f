"""From a `ContainerSpec` to what the set-up needs, worked out before the clone so that the new process only acts.

Everything that can be refused by looking at the request is refused here, in one sentence.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shims.cgroups.cgroup import Limits
from shims.container.protocol import ContainerSpec
from shims.container.setup.user_limits import Limit
from shims.linux.capability import CONTAINER_MASK, CapabilityDrop, mask_of
from shims.linux.mount import escape_option

MIN_MEMORY_MIB: Final = 4
MAX_MEMORY_MIB: Final = 1 << 30
MAX_VCPUS: Final = 4096
MAX_PROCESSES: Final = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
MAX_FIFOS: Final = 1024
HOST_NAME_MAX: Final = 64
MAX_SHOWN: Final = 200
MAX_MOUNT_DATA: Final = 4095  # one page with its closing NUL, mount(2)
DMI_UUID: Final = b"/sys/devices/virtual/dmi/id/product_uuid"


class RefusedError(Exception):
    """Why there will be no container, as one sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A bind mount: the source on the host, the target inside."""

    source: bytes
    target: bytes
    is_directory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the process in the new namespaces uses; paths are bytes, as the system calls take them."""

    hostname: str
    instance: bytes
    filesystem: bytes
    overlay_source: bytes
    overlay_options: bytes | None
    """None: the directory itself is the root."""
    uuid: bytes
    has_dmi: bool
    console: bytes
    """Path of the pty's slave on the host."""
    volumes: tuple[Volume, ...]
    fifos: int
    preinit: str
    init: tuple[bytes, ...]
    procs_files: tuple[str, ...]
    capabilities: CapabilityDrop
    seccomp: bool
    """Filter system calls."""
    user_namespace: bool
    """It has its capabilities in the guests' user namespace, not in the host's."""
    nodev: bool
    """No device node of the file system can be opened; it can make none either. In place of the cgroup's rules."""
    limits: tuple[Limit, ...]
    """Resource limits in which it differs from the warden."""
    backchannel: bool
    """Show the directory where the agent's server listens."""
    warnings: tuple[str, ...]


def limits_of(spec: ContainerSpec) -> Limits:
    """The spec's limits in the kernel's units."""
    return Limits(memory_bytes=spec.memory_mib << 20, vcpus=spec.vcpus, processes=spec.processes)


def check_spec(spec: ContainerSpec) -> None:
    """Raise `RefusedError` for what can be seen to be wrong without looking at the host."""
    if not spec.filesystem:
        raise RefusedError("unable to create container without a configured filesystem")
    if spec.guest_id < 0:
        raise RefusedError(f"a guest has no negative number, such as {spec.guest_id}")
    if spec.memory_mib < MIN_MEMORY_MIB:
        raise RefusedError(f"a container needs at least {MIN_MEMORY_MIB} MiB of memory, not {spec.memory_mib}")
    if spec.memory_mib > MAX_MEMORY_MIB:
        raise RefusedError(f"memory of {spec.memory_mib} MiB is more than any host has")
    if not 1 <= spec.vcpus <= MAX_VCPUS:
        raise RefusedError(f"vcpus has to be between 1 and {MAX_VCPUS}, not {spec.vcpus}")
    if not 1 <= spec.processes <= MAX_PROCESSES:
        raise RefusedError(f"processes has to be between 1 and {MAX_PROCESSES}, not {spec.processes}")
    if not 0 <= spec.fifos <= MAX_FIFOS:
        raise RefusedError(f"fifos has to be between 0 and {MAX_FIFOS}, not {spec.fifos}")
    if not spec.init or not spec.init[0]:
        raise RefusedError("init is empty: it has to name a program inside the container")
    if not 1 <= len(os.fsencode(spec.hostname)) <= HOST_NAME_MAX:
        raise RefusedError(f"a host name has 1 to {HOST_NAME_MAX} bytes, which `{spec.hostname[:80]}` has not")
    _check_paths(spec)


def _check_paths(spec: ContainerSpec) -> None:
    texts = [spec.filesystem, spec.instance_dir, spec.preinit, spec.hostname, spec.uuid, *spec.init]
    for volume in spec.volumes:
        texts += [volume.source, volume.target]
        if posixpath.normpath("/" + volume.target).lstrip("/") == "":
            raise RefusedError(f"volume {volume.source}: the container's root cannot be a volume target")
        _check_absolute("volume source", volume.source)
    if any("\0" in text for text in texts):
        raise RefusedError("a path or an argument contains a NUL byte")
    _check_absolute("filesystem", spec.filesystem)
    _check_absolute("instance directory", spec.instance_dir)
    if spec.preinit:
        _check_absolute("preinit", spec.preinit)
    if len(spec.tag) != 4 or not spec.tag.isalnum():
        raise RefusedError(f"a tag is four letters or digits, not `{spec.tag}`")


def _check_absolute(what: str, path: str) -> None:
    if not path.startswith("/"):
        raise RefusedError(f"{what} {path or 'of no name'} is not an absolute path")


def _shown(path: str) -> str:
    """As a message shows it: a sentence is read, a path of a thousand characters is not."""
    return path if len(path) <= MAX_SHOWN else f"{path[:MAX_SHOWN]}..."


def check_host(spec: ContainerSpec) -> None:
    """Raise `RefusedError` for a file system that is not there."""
    what = f"filesystem {_shown(spec.filesystem)}"
    try:
        os.close(os.open(spec.filesystem, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise RefusedError(f"{what} does not exist") from None
    except NotADirectoryError:
        raise RefusedError(f"{what} is not a directory") from None
    except OSError as error:
        raise RefusedError(f"{what} cannot be read: {error.strerror}") from None


def plan_volumes(spec: ContainerSpec) -> tuple[Volume, ...]:
    """The volumes with normalised targets; raises `RefusedError` if a source is missing."""
    return tuple(_plan_volume(volume.source, volume.target) for volume in spec.volumes)


def _plan_volume(source: str, target: str) -> Volume:
    try:
        mode = os.stat(source).st_mode
    except FileNotFoundError:
        raise RefusedError(f"volume source {_shown(source)} does not exist") from None
    except OSError as error:
        raise RefusedError(f"volume source {_shown(source)} cannot be used: {error.strerror}") from None
    inside = posixpath.normpath("/" + target.lstrip("/"))
    return Volume(source=os.fsencode(source), target=os.fsencode(inside), is_directory=stat.S_ISDIR(mode))


def overlay_options(filesystem: str) -> bytes:
    """The options of the overlay, whose other two directories are named from inside the instance directory."""
    options = b"lowerdir=" + escape_option(filesystem) + b",upperdir=fs,workdir=fs_work"
    if len(options) > MAX_MOUNT_DATA:
        raise RefusedError(f"the path of filesystem {_shown(filesystem)} is too long")
    return options


class Planner:
    """Makes plans; holds what is the same for all containers of this host."""

    def __init__(
        self,
        capabilities: CapabilityDrop,
        no_seccomp_because: str,
        limits: tuple[Limit, ...] = (),
    ) -> None:
        self._drops = {CONTAINER_MASK: capabilities}
        self._has_seccomp = not no_seccomp_because
        self._limits = limits
        self._has_dmi = os.path.exists(DMI_UUID)
        self._no_seccomp = f"system calls are not filtered: {no_seccomp_because}"

    def plan(
        self,
        spec: ContainerSpec,
        *,
        console: bytes,
        procs_files: Sequence[str],
        warnings: Sequence[str],
        has_device_rules: bool = True,
    ) -> Plan:
        """The plan of one container, whose cgroup has rules for devices or has not; raises `RefusedError`."""
        lacking = [*warnings]
        if spec.seccomp and not self._has_seccomp:
            lacking.append(self._no_seccomp)
        is_filtered = self._has_seccomp and spec.seccomp
        return Plan(
            hostname=spec.hostname,
            instance=os.fsencode(spec.instance_dir),
            filesystem=os.fsencode(spec.filesystem),
            overlay_source=f"minibus_{spec.tag}_{spec.guest_id}".encode(),
            overlay_options=overlay_options(spec.filesystem) if spec.snapshot else None,
            uuid=spec.uuid.encode() + b"\n",
            has_dmi=self._has_dmi,
            console=console,
            volumes=plan_volumes(spec) if spec.volumes else (),
            fifos=spec.fifos,
            preinit=spec.preinit,
            init=tuple(os.fsencode(argument) for argument in spec.init),
            procs_files=tuple(procs_files),
            capabilities=self._drop(has_device_rules=has_device_rules, is_filtered=is_filtered),
            seccomp=is_filtered,
            user_namespace=spec.seccomp,
            nodev=not has_device_rules,
            limits=self._limits,
            backchannel=spec.backchannel,
            warnings=tuple(lacking),
        )

    def _drop(self, *, has_device_rules: bool, is_filtered: bool) -> CapabilityDrop:
        mask = CONTAINER_MASK
        if not has_device_rules:  # a node of the host's disk could be made and opened
            mask &= ~mask_of(["MKNOD"])
        if not is_filtered:  # open_by_handle_at(2) would open any file of the host; to read, DAC_OVERRIDE is enough
            mask &= ~mask_of(["DAC_READ_SEARCH"])
        if mask not in self._drops:
            self._drops[mask] = CapabilityDrop(mask)
        return self._drops[mask]
