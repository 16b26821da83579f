"""The parameters of `vm config` as data: how words become a value, how a value is printed, how it is cleared.

Everything that depends on a parameter is one line of `PARAMS`; the command language declares its commands from it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bus.language import netspec
from bus.language.vm_names import is_integer
from bus.messages.base import WILDCARD
from bus.messages.network import Netspec
from bus.messages.vlan import Vlan
from bus.messages.vm import GuestKind, VmConfig

BOTH = frozenset(GuestKind)
KVM = frozenset({GuestKind.KVM})
CONTAINER = frozenset({GuestKind.CONTAINER})

VlanLookup = Callable[[tuple[str, ...]], tuple[Vlan, ...]]
"""VLANs for texts, all or none; raises VmConfigError."""
NO_LABELS: Mapping[int, str] = {}

MAX_UINT64 = 2**64 - 1
MAX_INT64 = 2**63 - 1


class VmConfigError(ValueError):
    """Words do not make a value; `str()` is one sentence."""


class Shape(StrEnum):
    """What may follow `vm config PARAM`."""

    STRING = "string"
    UUID = "uuid"
    PATH = "path"
    """A relative one lies in the file area."""
    PROGRAM = "program"
    """A path, or the bare name of a program on the host's PATH."""
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    BOOLEAN = "boolean"
    """`true` or `false`."""
    WORDS = "words"
    """One or more words, which replace the list."""
    PATHS = "paths"
    """One or more paths, which replace the list."""
    MAP = "map"
    """A key and a value, added to the map."""
    PATH_MAP = "path_map"
    """A key and a path, added to the map."""
    PAIRS = "pairs"
    """Two words, appended as a pair."""
    NETSPECS = "netspecs"
    """One or more interfaces, which replace the list; the actor `namespace` knows their VLANs."""


class Param(NamedTuple):
    """One parameter; its default is that of the field."""

    name: str
    """As typed after `vm config`."""
    field: str
    """Of VmConfig."""
    shape: Shape
    kinds: frozenset[GuestKind]
    label: str
    """In the full print."""
    help: str
    aliases: tuple[str, ...] = ()
    """Other names for it: those of later minimega versions, and those that `clear vm config` takes."""
    minimum: int = 0
    maximum: int = MAX_UINT64

    @property
    def default(self) -> Any:
        """The value of a fresh configuration."""
        return getattr(VmConfig(), self.field)

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.aliases)


S = Shape
PARAMS: tuple[Param, ...] = (
    Param("memory", "memory_mib", S.UNSIGNED, BOTH, "Memory", "memory in MiB", maximum=2**30),
    Param("vcpus", "vcpus", S.UNSIGNED, BOTH, "VCPUs", "number of virtual CPUs", minimum=1, maximum=65_536),
    Param("net", "networks", S.NETSPECS, BOTH, "Networks", "network interfaces, one netspec each", ("networks",)),
    Param("snapshot", "snapshot", S.BOOLEAN, BOTH, "Snapshot", "whether changes to disks and file systems are dropped"),
    Param("uuid", "uuid", S.UUID, BOTH, "UUID", "UUID of the one VM to launch; random if unset"),
    Param("schedule", "schedule", S.STRING, BOTH, "Schedule host", "host to launch on; any if unset"),
    Param(
        *("coschedule", "coschedule", S.SIGNED, BOTH, "Coschedule limit"),
        "how many other VMs may run on the host; -1 for no limit",
        minimum=-1,
        maximum=2**31,
    ),
    Param("backchannel", "backchannel", S.BOOLEAN, BOTH, "Backchannel", "whether there is a channel to a guest agent"),
    Param("tags", "tags", S.MAP, BOTH, "Tags", "tags that the VM starts with"),
    Param("migrate", "migrate", S.PATH, KVM, "Migrate Path", "saved state to resume from", ("state",)),
    Param("disk", "disks", S.PATHS, KVM, "Disk Paths", "disk images", ("disks",)),
    Param("cdrom", "cdrom", S.PATH, KVM, "CDROM Path", "image in the CD drive"),
    Param("kernel", "kernel", S.PATH, KVM, "Kernel Path", "kernel to boot"),
    Param("initrd", "initrd", S.PATH, KVM, "Initrd Path", "initial RAM disk"),
    Param("append", "append", S.WORDS, KVM, "Kernel Append", "kernel command line"),
    Param("qemu", "qemu", S.PROGRAM, KVM, "QEMU Path", "QEMU program"),
    Param("qemu-append", "qemu_append", S.WORDS, KVM, "QEMU Append", "further arguments of QEMU"),
    Param(
        "qemu-override", "qemu_overrides", S.PAIRS, KVM, "QEMU Overrides", "text to replace in the arguments of QEMU"
    ),
    Param("cpu", "cpu", S.STRING, KVM, "CPU", "CPU model"),
    Param("serial-ports", "serial_ports", S.UNSIGNED, KVM, "SerialPorts", "number of serial ports", maximum=1000),
    Param(
        "virtio-ports", "virtio_ports", S.UNSIGNED, KVM, "Virtio-SerialPorts", "number of virtio ports", maximum=1000
    ),
    Param("filesystem", "filesystem", S.PATH, CONTAINER, "Filesystem Path", "host directory used as root file system"),
    Param("hostname", "hostname", S.STRING, CONTAINER, "Hostname", "host name inside; the VM's name if unset"),
    Param("init", "init", S.WORDS, CONTAINER, "Init", "program inside that becomes PID 1, with arguments"),
    Param("preinit", "preinit", S.PATH, CONTAINER, "Pre-init", "host program run in the container before init"),
    Param("fifos", "fifos", S.UNSIGNED, CONTAINER, "FIFOs", "number of named pipes shared with the host", maximum=1000),
    Param(
        *("volume", "volumes", S.PATH_MAP, CONTAINER, "Volumes"),
        "host directories mounted inside: target inside, source on the host",
        ("volumes",),
    ),
    Param(
        *("processes", "processes", S.UNSIGNED, CONTAINER, "Processes"),
        "how many processes and threads there may be inside",
        minimum=1,
        maximum=2**22,
    ),
    Param(
        *("seccomp", "seccomp", S.BOOLEAN, CONTAINER, "Seccomp"),
        "whether dangerous system calls are refused and root inside has no rights on the host; false trusts the guest",
    ),
)

_BY_NAME = {name: param for param in PARAMS for name in param.names}


def find(name: str) -> Param:
    """The parameter of this name or alias; raises VmConfigError."""
    param = _BY_NAME.get(name)
    if param is None:
        raise VmConfigError(f"there is no vm config parameter `{name[:80]}`")
    return param


def reaches_host(param: Param) -> bool:
    """Whether its value names something of the host, or loosens what keeps a guest from it.

    Who is limited to namespaces may not set it: with a volume, say, a guest gets any directory of the host, and without
    a snapshot it writes to the image that it was given, which others are launched from; and a limit to how many other
    VMs there may be on the host holds for everybody. Of networks it depends on the value: `netspec.beyond_namespace`.
    """
    shapes = (Shape.PATH, Shape.PATHS, Shape.PATH_MAP, Shape.PROGRAM)
    others = ("snapshot", "coschedule", "qemu_append", "qemu_overrides", "seccomp")
    return param.shape in shapes or param.field in others


# --- words to values


def assign(
    config: VmConfig, name: str, words: tuple[str, ...], files_dir: Path, look_up: VlanLookup | None = None
) -> VmConfig:
    """The configuration with one parameter set from the words a user typed; raises VmConfigError.

    Without `look_up` VLANs can only be numbers.
    """
    param = find(name)
    if any("\0" in word for word in words):
        raise VmConfigError(f"{param.name} must not contain a NUL character")
    if not words:
        raise VmConfigError(f"{param.name} needs a value")
    if param.shape is Shape.NETSPECS:
        return msgspec.structs.replace(config, networks=_networks(words, look_up or _numbers))
    return msgspec.structs.replace(
        config, **{param.field: _value(param, words, getattr(config, param.field), files_dir)}
    )


def _networks(words: tuple[str, ...], look_up: VlanLookup) -> tuple[Netspec, ...]:
    try:
        specs = netspec.parse_all(words)
        vlans = look_up(tuple(spec.vlan for spec in specs))
    except netspec.NetspecError as error:
        raise VmConfigError(str(error)) from error
    return tuple(map(netspec.resolved, specs, vlans))


def _numbers(texts: tuple[str, ...]) -> tuple[Vlan, ...]:
    for text in texts:
        if not is_integer(text):
            raise VmConfigError(f"the VLAN `{text[:80]}` is not a number")
    return tuple(Vlan(number=netspec.vlan_number(text)) for text in texts)


def _value(param: Param, words: tuple[str, ...], current: Any, files_dir: Path) -> Any:
    match param.shape:
        case Shape.WORDS:
            return words
        case Shape.PATHS:
            return tuple(_path(word, files_dir) for word in words)
        case Shape.MAP | Shape.PATH_MAP:
            key, value = _pair(param, words)
            return {**current, key: _path(value, files_dir) if param.shape is Shape.PATH_MAP else value}
        case Shape.PAIRS:
            return (*current, _pair(param, words))
        case _:
            if len(words) != 1:
                raise VmConfigError(f"{param.name} takes one value, not {len(words)}")
            return _scalar(param, words[0], files_dir)


def _pair(param: Param, words: tuple[str, ...]) -> tuple[str, str]:
    if len(words) != 2 or not words[0]:
        raise VmConfigError(f"{param.name} takes two values, the first not empty")
    if param.shape is not Shape.PAIRS and words[0] == WILDCARD:
        raise VmConfigError(f"{param.name} cannot have the key `{WILDCARD}`, which is a reserved word")
    return words[0], words[1]


def _scalar(param: Param, word: str, files_dir: Path) -> Any:
    match param.shape:
        case Shape.PATH:
            return _path(word, files_dir)
        case Shape.PROGRAM:
            return _path(word, files_dir) if "/" in word else word
        case Shape.UUID:
            return _uuid(word)
        case Shape.BOOLEAN:
            if word not in ("true", "false"):
                raise VmConfigError(f"{param.name} must be true or false, not `{word[:80]}`")
            return word == "true"
        case Shape.UNSIGNED | Shape.SIGNED:
            return _integer(param, word)
        case _:
            return word


def _path(word: str, files_dir: Path) -> str:
    return str(files_dir / word) if word else ""


def _uuid(word: str) -> str:
    if not word:
        return ""
    try:
        return str(uuid.UUID(word))
    except ValueError as error:
        raise VmConfigError(f"`{word[:80]}` is not a UUID") from error


def _integer(param: Param, word: str) -> int:
    signed = param.shape is Shape.SIGNED
    what = "ParseInt" if signed else "ParseUint"
    digits = word[1:] if signed and word[:1] in ("+", "-") else word
    if not (digits.isascii() and digits.isdecimal()):
        raise VmConfigError(f'strconv.{what}: parsing "{word[:80]}": invalid syntax')
    if len(digits) > 20 or int(word) > (MAX_INT64 if signed else MAX_UINT64) or int(word) < -MAX_INT64 - 1:
        raise VmConfigError(f'strconv.{what}: parsing "{word[:80]}": value out of range')
    number = int(word)
    if not param.minimum <= number <= param.maximum:
        raise VmConfigError(f"{param.name} must be between {param.minimum} and {param.maximum}, not {number}")
    return number


# --- back to the default


def clear(config: VmConfig, name: str = "", key: str = "") -> VmConfig:
    """The configuration with everything, one parameter, or one key of a map at its default; raises VmConfigError."""
    if not name:
        return VmConfig()
    param = find(name)
    value = param.default
    if key and key != WILDCARD:
        current = getattr(config, param.field)
        if not isinstance(current, dict):
            raise VmConfigError(f"{param.name} has no keys")
        value = {k: v for k, v in current.items() if k != key}
    return msgspec.structs.replace(config, **{param.field: value})


# --- values to text


def show(config: VmConfig, name: str, key: str = "", labels: Mapping[int, str] = NO_LABELS) -> str:
    """One value as `vm config PARAM [KEY]` prints it; empty if there is nothing. Raises VmConfigError.

    `labels` is what to print for VLANs, see `bus.language.netspec.vlan_labels`.
    """
    param = find(name)
    value = getattr(config, param.field)
    if param.shape is Shape.NETSPECS:
        return _netspecs(value, labels) if value else ""
    if isinstance(value, dict):
        if key:
            return str(value.get(key, ""))
        return "\n".join(f"{k} -> {v}" for k, v in sorted(value.items()))
    if param.shape is Shape.PAIRS:
        rows = [f'{index}\t"{match}"\t"{replacement}"' for index, (match, replacement) in enumerate(value)]
        return "\n".join(["id\tmatch\treplacement", *rows]) if rows else ""
    if isinstance(value, tuple):
        return f"[{' '.join(value)}]" if value else ""
    return _text(value)


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


HEADINGS: Mapping[str, frozenset[GuestKind]] = {
    "VM configuration:": BOTH,
    "KVM configuration:": KVM,
    "Container configuration:": CONTAINER,
}


def layout(config: VmConfig, kind: GuestKind | None = None, labels: Mapping[int, str] = NO_LABELS) -> str:
    """The whole configuration in blocks, each ended by an empty line; with a kind, without the block of the other."""
    wanted = [(title, kinds) for title, kinds in HEADINGS.items() if kind is None or kind in kinds]
    return "\n".join(_block(config, title, kinds, labels) for title, kinds in wanted)


def _block(config: VmConfig, title: str, kinds: frozenset[GuestKind], labels: Mapping[int, str]) -> str:
    params = [param for param in PARAMS if param.kinds == kinds]
    width = max(len(param.label) for param in params) + 2
    lines = [
        f"{f'{param.label}:':<{width}}{_cell(param, getattr(config, param.field), width, labels)}" for param in params
    ]
    return "\n".join([title, *lines, ""])


def _netspecs(networks: tuple[Netspec, ...], labels: Mapping[int, str]) -> str:
    return f"[{' '.join(netspec.spec_text(spec, labels) for spec in networks)}]"


def _cell(param: Param, value: Any, width: int, labels: Mapping[int, str]) -> str:
    match param.shape:
        case Shape.NETSPECS:
            return _netspecs(value, labels)
        case Shape.MAP:
            return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        case Shape.PATH_MAP:
            return "".join(f"\n{'':<{width}}{k} -> {v}" for k, v in sorted(value.items()))
        case Shape.PAIRS:
            return f"[{' '.join(f'{match} -> {replacement}' for match, replacement in value)}]"
        case Shape.WORDS | Shape.PATHS:
            return f"[{' '.join(value)}]"
        case _:
            return _text(value)
