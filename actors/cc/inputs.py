"""Inputs of the `cc` actor besides requests, and its effects."""

from __future__ import annotations

from actors.cc.protocol.frames import Frame
from actors.cc.table import Facts, Key, Tunnel, Vm
from bus.actor.step import Effect, Input
from bus.messages.cc import CommandState


class VmsSeen(Input, frozen=True, kw_only=True, omit_defaults=True, tag="vms_seen"):
    """VMs as they are now."""

    vms: tuple[Vm, ...]


class VmsGone(Input, frozen=True, kw_only=True, tag="vms_gone"):
    """VMs were flushed."""

    vm_ids: tuple[int, ...]


class Joined(Input, frozen=True, kw_only=True, omit_defaults=True, tag="joined"):
    """An agent has said who it is."""

    key: Key
    boot: str
    agent: str
    facts: Facts


class FactsChanged(Input, frozen=True, kw_only=True, omit_defaults=True, tag="facts_changed"):
    """A guest has another name or other addresses."""

    key: Key
    hostname: str
    ips: tuple[str, ...]
    macs: tuple[str, ...]


class Synced(Input, frozen=True, kw_only=True, omit_defaults=True, tag="synced"):
    """An agent has told all that it knows."""

    key: Key
    serials: tuple[int, ...]


class Left(Input, frozen=True, kw_only=True, omit_defaults=True, tag="left"):
    """A line is closed."""

    key: Key
    reason: str = ""


class Handed(Input, frozen=True, kw_only=True, tag="handed"):
    """A command is about to be sent to an agent that may forget it."""

    key: Key
    serial: int


class Began(Input, frozen=True, kw_only=True, omit_defaults=True, tag="began"):
    """A program runs in a guest."""

    key: Key
    serial: int
    pid: int = 0
    guest_s: float = 0.0


class Finished(Input, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """A command has come to its end in a guest, and all of its output is on the disk."""

    key: Key
    serial: int
    state: CommandState
    code: int = 0
    error: str = ""
    guest_s: float = 0.0
    stdout: int = 0
    stderr: int = 0
    moved: int = 0
    """Bytes of files that the guest has been sent."""


class FileArrived(Input, frozen=True, kw_only=True, omit_defaults=True, tag="file_arrived"):
    """A file of a guest is in its place."""

    key: Key
    serial: int
    index: int
    size: int = 0


class Surveyed(Input, frozen=True, kw_only=True, omit_defaults=True, tag="surveyed"):
    """The files of a command were looked for."""

    msg_id: str
    files: tuple[str, ...] = ()
    code: str = ""
    error: str = ""


class Listened(Input, frozen=True, kw_only=True, omit_defaults=True, tag="listened"):
    """A port is listened on, or cannot be."""

    msg_id: str
    error: str = ""


class TunnelsOpened(Input, frozen=True, kw_only=True, omit_defaults=True, tag="tunnels_opened"):
    """Tunnels are there, or one of them cannot be."""

    msg_id: str
    error: str = ""


class Mounted(Input, frozen=True, kw_only=True, omit_defaults=True, tag="mounted"):
    """A guest is mounted, or cannot be."""

    msg_id: str
    path: str = ""
    """Without symbolic links."""
    source: str = ""
    """What the kernel calls it."""
    code: str = ""
    error: str = ""


class MountLost(Input, frozen=True, kw_only=True, tag="mount_lost"):
    """Nobody serves a mount any more; it is being taken off."""

    key: Key
    reason: str


class Unmounted(Input, frozen=True, kw_only=True, omit_defaults=True, tag="unmounted"):
    """Mounts are taken off, or cannot be."""

    msg_id: str
    error: str = ""


class Removed(Input, frozen=True, kw_only=True, omit_defaults=True, tag="removed"):
    """Responses are gone, but for those of commands that go on: their streams begin where they were."""

    msg_id: str
    error: str = ""
    positions: tuple[tuple[str, str, int, str, int], ...] = ()
    """Namespace, UUID, serial, stream, bytes so far."""


class Archived(Input, frozen=True, kw_only=True, tag="archived"):
    """The responses of earlier commands are aside."""

    namespace: str


# ---------------------------------------------------------------- effects


class Tell(Effect, frozen=True, kw_only=True):
    """Send a frame, if the guest's agent is there."""

    key: Key
    frame: Frame


class Offer(Effect, frozen=True, kw_only=True):
    """Give guests what is for them: one new command, or, with serial 0, whatever waits."""

    namespace: str
    uuid: str = ""
    """Empty for all guests."""
    serial: int = 0
    first: bool = False
    """What the agent knew has been taken in: from now on its session may be given commands."""


class Reline(Effect, frozen=True, kw_only=True):
    """VMs began, ended or changed their names: see that each that needs a line has one."""

    vm_ids: tuple[int, ...]


class HangUp(Effect, frozen=True, kw_only=True):
    """Close the line of a guest, or of all guests of a namespace."""

    namespace: str
    uuid: str = ""
    reason: str


class Survey(Effect, frozen=True, kw_only=True):
    """Look for the files to be sent; feeds `Surveyed`."""

    msg_id: str
    namespace: str
    patterns: tuple[str, ...]


class OpenListener(Effect, frozen=True, kw_only=True):
    """Listen on a TCP port; feeds `Listened` if there is a request that waits for it."""

    namespace: str
    port: int
    address: str
    msg_id: str = ""


class CloseListener(Effect, frozen=True, kw_only=True):
    """No more."""

    port: int


class OpenTunnels(Effect, frozen=True, kw_only=True):
    """Open tunnels; feeds `TunnelsOpened` if there is a request that waits for them."""

    tunnels: tuple[tuple[Key, Tunnel], ...]
    msg_id: str = ""


class CloseTunnels(Effect, frozen=True, kw_only=True):
    """Close tunnels and their connections."""

    tunnels: tuple[tuple[Key, int], ...]


class OpenMount(Effect, frozen=True, kw_only=True):
    """Mount a guest; feeds `Mounted`."""

    key: Key
    path: str
    msg_id: str


class CloseMounts(Effect, frozen=True, kw_only=True):
    """Take off the mounts of these guests, which the kernel calls so; feeds `Unmounted` if a request waits."""

    mounts: tuple[tuple[Key, str], ...]
    msg_id: str = ""


class Remove(Effect, frozen=True, kw_only=True):
    """Remove responses; feeds `Removed` if there is a request that waits for it."""

    namespace: str
    ids: tuple[int, ...] | None = None
    """None for all of the namespace."""
    uuid: str = ""
    """Only those of one guest."""
    msg_id: str = ""


class Archive(Effect, frozen=True, kw_only=True):
    """Put the responses of earlier commands, if there are any, beside those that will come; feeds `Archived`."""

    namespace: str
    time_s: float


class Keep(Effect, frozen=True, kw_only=True):
    """Note beside the output how a command ended."""

    namespace: str
    id: int
    uuid: str
    exit_code: int | None
    error: str


class Wake(Effect, frozen=True, kw_only=True):
    """What is known of a command has changed: look whether anybody waits for that."""

    namespace: str
    id: int = 0
    """0 for all of the namespace."""
