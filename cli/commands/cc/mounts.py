"""`cc mount`: file systems of guests in directories of this host."""

from __future__ import annotations

import msgspec

from bus.messages.mount import GetMounts, MountGuest, MountInfo, MountList, UnmountGuests
from cli.answers.printable import escaped
from cli.answers.response import Row
from cli.commands.declare import Answer, Args, Command, Scope

HEADER = ("name", "uuid", "addr", "path", "state", "reason")
"""minimega's columns, then what it does not tell."""
MOUNT_S = 60.0
"""The directory may be on a file system that takes its time."""


def mount_row(mount: MountInfo) -> Row:
    """One mount; `addr` is what the mount is called in /proc/mounts."""
    return (mount.vm, mount.uuid, mount.source, escaped(mount.path), mount.state.value, escaped(mount.reason))


def mount_table(reply: MountList, args: Args) -> Answer:
    """By VM."""
    rows = [mount_row(mount) for mount in reply.mounts]
    return Answer(header=HEADER, rows=rows, data=[msgspec.to_builtins(mount) for mount in reply.mounts])


COMMANDS = (
    Command(
        patterns=("cc <mount,>",),
        help_short="list guests that are mounted on this host",
        help_long="""\
`addr` is what the mount is called in /proc/mounts. A guest that was mounted and
has ended, or has answered nothing for half a minute, is unmounted and stays on
the list as `lost`, with the reason, until it is mounted again or cleared.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: GetMounts(),
        answer=mount_table,
    ),
    Command(
        patterns=("cc <mount,> <vm name or uuid> [path]",),
        help_short="mount the file systems of a guest on a directory of this host",
        help_long="""\
The directory has to be there and to be empty. Everything that the guest's agent
sees is below it, to be read and written, by root of this host only. Symbolic links
are shown and not followed, programs are not run, device nodes are not opened.

	cc mount web1 /mnt/web1
	clear cc mount web1""",
        scope=Scope.TARGETED,
        to="cc",
        request=lambda args: MountGuest(target=args.text("vm"), path=args.text("path")),
        completers={"vm": "vm"},
        timeout_s=MOUNT_S,
        free_text=True,
    ),
    Command(
        patterns=("clear cc <mount,> [vm name, uuid or path]",),
        help_short="unmount a guest, or all guests of this namespace",
        help_long="Also while programs of this host still use it: they are told that it is gone.",
        scope=Scope.BROADCAST,
        to="cc",
        request=lambda args: UnmountGuests(target=args.text("vm")),
        completers={"vm": "vm"},
        timeout_s=MOUNT_S,
        free_text=True,
    ),
)
