"""What the container actor and the warden say to each other.

One msgpack map per SOCK_SEQPACKET packet on `<base>/run/warden`. Every call carries a number of the caller's choice and
gets exactly one answer with that number; `Exited` is the only notice the warden sends unasked. The warden keeps a
container in its list, exit status included, until `ForgetContainer`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_PACKET = 192 * 1024
"""Bytes; below the default socket send buffer (net.core.wmem_default, 212992), so that one packet always fits."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A host path bound into the container."""

    source: str
    target: str


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to build one container; every path is absolute on the host, `target` and `init` inside."""

    guest_id: int
    tag: str
    """Four characters of the base directory; part of every cgroup and device name."""
    instance_dir: str
    filesystem: str
    snapshot: bool = True
    """True: overlay with its upper layer in the instance directory; False: the directory itself, written to."""
    hostname: str
    uuid: str
    init: tuple[str, ...] = ("/init",)
    preinit: str = ""
    fifos: int = 0
    volumes: tuple[Volume, ...] = ()
    memory_mib: int = 2048
    vcpus: int = 1
    processes: int = 4096
    """Threads count as well."""
    seccomp: bool = True
    backchannel: bool = False
    """Show `<instance_dir>/cc` at /dev/minibus, and its socket at /cc."""


class Call(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of everything the actor may ask."""

    call: int


class CreateContainer(Call, frozen=True, kw_only=True, tag="create"):
    """Build the container up to its frozen state (BUILDING); answered by `Created` with the pty master attached."""

    spec: ContainerSpec


class StartContainer(Call, frozen=True, kw_only=True, tag="start"):
    """Let a waiting container run its init, or thaw a paused one; answered by `Done`."""

    guest_id: int


class FreezeContainer(Call, frozen=True, kw_only=True, tag="freeze"):
    """Pause; `Done` only once the kernel says FROZEN."""

    guest_id: int


class KillContainer(Call, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL init; `Done` when all processes are reaped and the cgroups are gone. `Exited` comes before it."""

    guest_id: int


class ForgetContainer(Call, frozen=True, kw_only=True, tag="forget"):
    """Drop the record of an ended container."""

    guest_id: int


class OpenConsole(Call, frozen=True, kw_only=True, tag="open_console"):
    """A copy of the pty master of a living container; answered by `ConsoleOpened` with it attached.

    `Refused` for a container that outlived an earlier warden: only copies made before (the node's) exist then.
    """

    guest_id: int


class KeepConsole(Call, frozen=True, kw_only=True, tag="keep_console"):
    """Attached is a copy of the pty master of a container that outlived an earlier warden: the new one keeps it too.

    Otherwise the terminal would depend on actor and node alone, which may well die together. `Done`, or `Refused`.
    """

    guest_id: int


class ListContainers(Call, frozen=True, kw_only=True, tag="list"):
    """What the warden owns; answered by one or more `Containers`."""


class Shutdown(Call, frozen=True, kw_only=True, tag="shutdown"):
    """End the warden if it owns no living container, else `Refused`."""


AnyCall = (
    CreateContainer
    | StartContainer
    | FreezeContainer
    | KillContainer
    | ForgetContainer
    | OpenConsole
    | KeepConsole
    | ListContainers
    | Shutdown
)


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the answers; `call` is the number of the call."""

    call: int


class Created(Answer, frozen=True, kw_only=True, tag="created"):
    """The container is frozen, its init not yet executed. One descriptor is attached: the pty master."""

    guest_id: int
    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: with the pid it names a process for good."""
    warnings: tuple[str, ...] = ()


class Done(Answer, frozen=True, kw_only=True, tag="done"):
    """The call has taken effect."""


class Refused(Answer, frozen=True, kw_only=True, tag="refused"):
    """The call failed and left nothing behind; `message` is one sentence for the user."""

    message: str


class ConsoleOpened(Answer, frozen=True, kw_only=True, tag="console_opened"):
    """One descriptor is attached: a copy of the pty master."""

    guest_id: int


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One container as the warden knows it."""

    guest_id: int
    pid: int
    start_ticks: int
    state: Literal["building", "running", "frozen", "exited"]
    exit: str = ""
    """As in `Exited.exit` once the state is exited."""
    clean: bool = False
    oom_killed: bool = False
    message: str = ""
    has_console: bool = True
    """Whether the warden has its pty master; not so of one that outlived an earlier warden, until it is given back."""


class Containers(Answer, frozen=True, kw_only=True, tag="containers"):
    """Part of the list; the last part has `more` False. Pty masters are not attached (see the node's fd store)."""

    containers: tuple[ContainerStatus, ...]
    more: bool = False


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="exited"):
    """Init ended; mounts died with its namespaces and its cgroups have been removed."""

    guest_id: int
    exit: str
    """`exit status N`, `signal: killed` (the kernel's signal description, lower case), or `unknown`."""
    clean: bool
    """True only for exit status 0, or for the SIGKILL of a `KillContainer`."""
    oom_killed: bool = False
    message: str = ""
    """One sentence where the exit alone does not tell the story, e.g. that its warden died before it was started."""


AnyAnswer = Created | Done | Refused | ConsoleOpened | Containers | Exited
