"""The container's /proc, /dev and /sys: mounted, filled, and closed to what is the host's.

A root file system is the user's, but what stands in it may change while we work: other containers can have the same
directory. Whoever exchanges a directory for a symbolic link at the right moment would lead the next step to another
place, e.g. leave /proc unprotected. So these three are made as detached mounts, attached once, and from then on only
reached through their own descriptors: every path here is relative to one of them, and nobody else can write there.
"""

from __future__ import annotations

import os
from errno import ENOENT
from typing import Final

from shims.container.setup import blocks as b
from shims.container.setup import tables
from shims.container.setup.action import Action
from shims.container.setup.plan import Plan
from shims.linux import mount as m

_HIDDEN_UUID: Final = b".uuid"
_DMI_UUID: Final = b"devices/virtual/dmi/id/product_uuid"
_NULL_FROM_PROC: Final = b"self/fd/%d/null" % b.DEV
_EMPTY_FROM_PROC: Final = b"self/fd/%d/fs/cgroup" % b.SYS
"""Directories in which nothing ever is: sysfs makes this one for others to mount on."""


def _new_mount(path: bytes, number: int) -> list[Action]:
    """Mount a new file system as `path`, and keep it as descriptor `number`."""
    fstype, options, attributes = tables.KERNEL_TREES[path]
    step = "mount"

    def configure(command: int, key: bytes | None, value: bytes | None) -> Action:
        return Action(step, "syscall", (m.SYS_FSCONFIG, b.SCRATCH, command, key, value, 0), path)

    return [
        b.mkdir(step, path),
        Action(step, "syscall", (m.SYS_FSOPEN, fstype, m.FSOPEN_CLOEXEC), path, keep_as=b.SCRATCH),
        configure(m.FSCONFIG_SET_STRING, b"source", fstype),
        *(configure(m.FSCONFIG_SET_STRING if value else m.FSCONFIG_SET_FLAG, key, value) for key, value in options),
        configure(m.FSCONFIG_CMD_CREATE, None, None),
        Action(step, "syscall", (m.SYS_FSMOUNT, b.SCRATCH, m.FSMOUNT_CLOEXEC, attributes), path, keep_as=number),
        b.closed(b.SCRATCH),
        Action(
            step,
            "syscall",
            (m.SYS_MOVE_MOUNT, number, b"", m.AT_FDCWD, path, m.MOVE_MOUNT_F_EMPTY_PATH | m.MOVE_MOUNT_T_SYMLINKS),
            path,
        ),
    ]


def _mount_inside(path: bytes, source: bytes, fstype: bytes, flags: int, data: bytes) -> list[Action]:
    """Mount on a directory of /dev, which is the current one."""
    name = os.path.basename(path)
    return [
        b.mkdir("mount", name, named=path),
        b.mount("mount", source, name, fstype, flags, data, named=path),
    ]


MOUNT: Final = [
    *_new_mount(b"/proc", b.PROC),
    *_new_mount(b"/dev", b.DEV),
    *_new_mount(b"/sys", b.SYS),
    b.into("mount", b.DEV),
    *(action for mount in tables.MOUNTS_IN_DEV for action in _mount_inside(*mount)),
]
"""The default mounts."""

FILL_DEV: Final = [
    b.into("device", b.DEV),
    b.mkdir("device", b"net", named=b"/dev/net"),
    *(
        Action("device", "mknod", (name, tables.DEVICE_MODE, number), b"/dev/" + name)
        for name, number in tables.DEVICES
    ),
    *(Action("symlink", "symlink", (text, name), b"/dev/" + name) for text, name in tables.SYMLINKS),
    b.make_file("console", b"console", 0o600, named=b"/dev/console"),
    b.attach("console", b.CONSOLE, b"console", named=b"/dev/console"),
    # Opened by a session leader without one, it becomes the controlling terminal (tty_ioctl(4)).
    b.open_as("console", b"console", os.O_RDWR, b.SCRATCH, named=b"/dev/console"),
    *(Action("console", "dup2", (b.SCRATCH, fd)) for fd in (0, 1, 2)),
    b.closed(b.SCRATCH),
]
"""Devices, links and the console."""


def _mask(path: bytes, source: bytes) -> Action:
    name = path.removeprefix(b"/proc/")
    return b.mount("masked path", source, name, None, m.MS_BIND, tolerated=(ENOENT,), named=path)


# Not every kernel has every one of these paths.
PROTECT: Final = [
    b.into("read-only path", b.PROC),
    *(
        b.mount("read-only path", b"none" if remount else name, name, None, flags, tolerated=(ENOENT,), named=path)
        for path in tables.READ_ONLY_PATHS
        for name in (path.removeprefix(b"/proc/"),)
        for remount, flags in ((False, m.MS_BIND), (True, m.MS_BIND | m.MS_REMOUNT | tables.READ_ONLY_FLAGS))
    ),
    *(_mask(path, _NULL_FROM_PROC) for path in tables.MASKED_FILES),
    *(_mask(path, _EMPTY_FROM_PROC) for path in tables.MASKED_DIRECTORIES if path.startswith(b"/proc/")),
    b.into("masked path", b.SYS),
    *(
        b.mount("masked path", b"fs/cgroup", path[5:], None, m.MS_BIND, tolerated=(ENOENT,), named=path)
        for path in tables.MASKED_DIRECTORIES
        if path.startswith(b"/sys/")
    ),
]
"""What is the host's becomes read-only or disappears."""


def show_uuid(plan: Plan) -> list[Action]:
    """At the DMI path and, because many hosts have none, at a path of our own.

    What is shown is a file of its own on the tmpfs of /dev, without a name there once it is in place: nothing that is
    written to it reaches the host, and in direct mode the user's directory gets an empty file to mount on, no more.
    """
    shown = b"/dev/" + _HIDDEN_UUID
    actions = [b.into("uuid", b.DEV), *b.write_file("uuid", _HIDDEN_UUID, plan.uuid, 0o444, named=shown)]
    if plan.has_dmi:
        actions += [
            b.take("uuid", _HIDDEN_UUID, b.SCRATCH, named=shown),
            b.into("uuid", b.SYS),
            b.attach("uuid", b.SCRATCH, _DMI_UUID)._replace(warning="the UUID is not readable by DMI"),
            b.closed(b.SCRATCH),
            b.into("uuid", b.DEV),
        ]
    path = tables.UUID_INSIDE
    inside = [
        *b.make_directories("uuid", os.path.dirname(path)),
        b.make_file("uuid", path, 0o444),
        b.take("uuid", _HIDDEN_UUID, b.SCRATCH, named=shown),
        b.attach("uuid", b.SCRATCH, path),
        b.closed(b.SCRATCH),
    ]
    warning = f"{os.fsdecode(path)} cannot be made"
    actions += [action._replace(warning=warning, skip=len(inside) - 1 - at) for at, action in enumerate(inside)]
    return [*actions, Action("uuid", "unlink", (_HIDDEN_UUID,), shown)]


def show_fifos(plan: Plan, first_tree: int) -> list[Action]:
    """The fifos, which are detached mounts from `first_tree` on, in /dev/fifos."""
    if not plan.fifos:
        return []
    actions = [b.into("fifo", b.DEV), b.mkdir("fifo", b"fifos", named=b"/dev/fifos")]
    for number in range(plan.fifos):
        name, tree = b"fifos/fifo%d" % number, first_tree + number
        actions += [
            b.make_file("fifo", name, 0o660, named=b"/dev/" + name),
            b.attach("fifo", tree, name, named=b"/dev/" + name),
            b.closed(tree),
        ]
    return actions
