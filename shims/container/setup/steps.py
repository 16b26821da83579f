"""The steps that make a container, in their order, as lists of prepared calls. Nothing here acts.

Until the pivot the host's root stays reachable through a descriptor. The mounts are made with the container's root as
the root of the process (chroot), so that no symbolic link in an image can lead a mount or a device node out of it.
Whatever comes from the host (volumes, console, fifos) is taken as a detached mount before and attached after.
"""

from __future__ import annotations

import functools
import os
import signal
import struct
from errno import EEXIST, ENOENT
from typing import Final

from shims.container.cloner import dump_script
from shims.container.setup import backchannel, kernel_trees
from shims.container.setup import blocks as b
from shims.container.setup.action import Action
from shims.container.setup.build import PREINIT_STARTED, REPORT, USER_NAMESPACE
from shims.container.setup.plan import Plan, Volume
from shims.linux import mount as m
from shims.linux import process
from shims.linux.capability import CapabilityDrop

INIT_UMASK: Final = 0o022

_SIOCSIFFLAGS: Final = 0x8914
_IFREQ_LO_UP: Final = struct.pack("16sH22x", b"lo", 0x1)  # struct ifreq, IFF_UP
_AF_INET, _SOCK_DGRAM_CLOEXEC = 2, 0o2000002


def set_up(plan: Plan) -> list[Action]:
    """All steps from the clone to the gate."""
    return [action for part in _parts(plan) for action in (part.actions if isinstance(part, _Fixed) else part)]


class _Fixed:
    """Steps that are the same for many containers, marshalled once."""

    def __init__(self, actions: list[Action]) -> None:
        self.actions = actions
        self.dumped = _dumped(actions)


def _dumped(actions: list[Action]) -> bytes:
    return dump_script(tuple(map(tuple, actions)))


def _parts(plan: Plan) -> list[list[Action] | _Fixed]:
    """The steps by what they are about."""
    return [
        _BEGIN,
        _isolate(plan) + _fill_instance(plan) + _take_from_host(plan) + _mount_root(plan),
        _MOUNT,
        _mount_volumes(plan),
        _FILL_DEV,
        _preinit(plan),
        _PROTECT,
        kernel_trees.show_uuid(plan),
        kernel_trees.show_fifos(plan, _first_fifo(plan)),
        backchannel.show(plan, _backchannel(plan)) + _join_cgroups(plan),
        _INSIDE,
        [Action("init", "check_init", (plan.init[0],)), *_confine(plan)],
        _drop_capabilities(plan.capabilities),
    ]


def script_of(plan: Plan) -> bytes:
    """What the cloner takes: everything the new process will do, in parts.

    Each part is marshalled by itself, those that never change once; and in the new process all that one is made of is
    gone before the next one is read.
    """
    parts = tuple(part.dumped if isinstance(part, _Fixed) else _dumped(part) for part in _parts(plan) if part)
    return dump_script((parts, tuple(map(tuple, before_exec(plan))), plan.init, plan.warnings))


def before_exec(plan: Plan) -> list[Action]:
    """What comes between the gate and the exec."""
    return [
        *_BEFORE_EXEC,
        *(
            Action("resource limit", "prlimit", (0, int(which), struct.pack("QQ", soft, hard), None))
            for which, soft, hard in plan.limits
        ),
    ]


_ENTER_ROOT: Final = [Action("root", "fchdir", (b.NEW_ROOT,)), Action("root", "chroot", (b".",), ".")]
_LEAVE_ROOT: Final = [Action("root", "fchdir", (b.HOST_ROOT,)), Action("root", "chroot", (b".",), ".")]


# --- on the host's side


_KEEP_NOTHING: Final = [
    Action("start", "prctl", (process.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)),
    # At once: a copy of the warden's lock would outlive the warden.
    Action("start", "syscall", (process.SYS_CLOSE_RANGE, USER_NAMESPACE + 1, -1, 0)),
    Action("start", "setsid", ()),
    Action("start", "umask", (0,)),
]

_KEEP_MOUNTS_FROM_SPREADING: Final = [
    b.mount("mount", b"none", b"/", None, m.MS_REC | m.MS_SLAVE),
    b.open_as("mount", b"/", b.AT_DIRECTORY, b.HOST_ROOT),
]


def _isolate(plan: Plan) -> list[Action]:
    name = os.fsencode(plan.hostname)
    named = Action("hostname", "sethostname", (name, len(name)), name)
    actions = [named, *_KEEP_MOUNTS_FROM_SPREADING]
    if plan.preinit:
        actions.append(b.open_as("containerPreinit", b".", b.AT_DIRECTORY, b.DIRECTORY))
    return actions


def _fill_instance(plan: Plan) -> list[Action]:
    """What the instance directory keeps of a container; all of it may be there from an earlier run."""
    instance = plan.instance
    step = "instance directory"
    actions = [b.mkdir(step, instance, 0o700), Action(step, "chdir", (instance,), instance)]
    if plan.overlay_options is not None:
        actions += [b.mkdir("overlayMount", instance + b"/fs"), b.mkdir("overlayMount", instance + b"/fs_work")]
    uuid = instance + b"/uuid"
    actions += [Action("uuid", "unlink", (uuid,), uuid, (ENOENT,)), *b.write_file("uuid", uuid, plan.uuid, 0o400)]
    for number in range(plan.fifos):
        fifo = instance + b"/fifo%d" % number
        actions.append(Action("fifo", "mkfifo", (fifo, 0o660), fifo, (EEXIST,)))
    return actions


def _take_from_host(plan: Plan) -> list[Action]:
    actions = [b.take("console", plan.console, b.CONSOLE)]
    for number, volume in enumerate(plan.volumes, b.FIRST_TREE):
        actions.append(b.take("volume", volume.source, number))
    for number in range(plan.fifos):
        actions.append(b.take("fifo", plan.instance + b"/fifo%d" % number, _first_fifo(plan) + number))
    return actions + backchannel.take(plan, _backchannel(plan))


def _first_fifo(plan: Plan) -> int:
    return b.FIRST_TREE + len(plan.volumes)


def _backchannel(plan: Plan) -> int:
    return _first_fifo(plan) + plan.fifos


def _mount_root(plan: Plan) -> list[Action]:
    if plan.overlay_options is not None:
        root = plan.instance + b"/fs"
        flags = m.MS_NODEV if plan.nodev else 0
        arguments = (plan.overlay_source, root, b"overlay", flags, plan.overlay_options)
        # Where it fails it is for the kind of file system that is to lie below, so that is what the message names.
        mounted = [Action("overlayMount", "mount", arguments, plan.filesystem)]
    else:
        root = plan.filesystem
        mounted = [b.mount("filesystem", root, root, None, m.MS_BIND | m.MS_REC)]
        if plan.nodev:
            mounted.append(b.mount("filesystem", b"none", root, None, m.MS_BIND | m.MS_REMOUNT | m.MS_NODEV))
    return [*mounted, b.open_as("filesystem", root, b.AT_DIRECTORY, b.NEW_ROOT), *_ENTER_ROOT]


# --- inside the container's root


def _mount_volumes(plan: Plan) -> list[Action]:
    actions = []
    for number, volume in enumerate(plan.volumes, b.FIRST_TREE):
        actions += _mount_volume(volume, number)
    return actions


def _mount_volume(volume: Volume, number: int) -> list[Action]:
    if volume.is_directory:
        target = [
            *b.make_directories("volume", volume.target),
            # A file in its place would only show as an invalid argument of move_mount(2).
            b.open_as("volume", volume.target, b.AT_DIRECTORY, b.SCRATCH),
            b.closed(b.SCRATCH),
        ]
    else:
        target = [
            *b.make_directories("volume", os.path.dirname(volume.target)),
            b.make_file("volume", volume.target, 0o644),
        ]
    return [*target, b.attach("volume", number, volume.target), b.closed(number)]


# Set-ups yield to the actors (see the cloner), containers do not; taking it back needs a capability that is dropped.
_FULL_PRIORITY: Final = Action("priority", "setpriority", (os.PRIO_PROCESS, 0, 0))


def _preinit(plan: Plan) -> list[Action]:
    if not plan.preinit:
        return []
    return [
        b.write("containerPreinit", REPORT, PREINIT_STARTED),
        *_LEAVE_ROOT,
        Action("containerPreinit", "fchdir", (b.DIRECTORY,)),
        Action("containerPreinit", "umask", (INIT_UMASK,)),
        _FULL_PRIORITY,
        Action("containerPreinit", "run_preinit", (plan.preinit,)),
        Action("containerPreinit", "umask", (0,)),
        *_ENTER_ROOT,
    ]


# --- the last steps


_CGROUPS_SHOWN: Final = "the names of its cgroups on the host can be read inside"


def _join_cgroups(plan: Plan) -> list[Action]:
    actions = [*_LEAVE_ROOT]
    for file in plan.procs_files:
        path = os.fsencode(file)
        # "0" is whoever writes it, whatever its number in which PID namespace.
        write = Action("cgroup", "write", (b.SCRATCH, b"0", 1), path)
        actions += [b.open_as("cgroup", path, os.O_WRONLY | os.O_CLOEXEC, b.SCRATCH), write, b.closed(b.SCRATCH)]
    # After that: the container's own cgroups become the top of all that it sees of them.
    actions.append(Action("cgroup namespace", "unshare", (process.CLONE_NEWCGROUP,), warning=_CGROUPS_SHOWN))
    return actions


_PIVOT_ROOT: Final = [
    Action("pivot_root", "fchdir", (b.NEW_ROOT,)),
    # With "." for both, the old root comes to lie on top of the new one, at "." (pivot_root(2)).
    Action("pivot_root", "syscall", (m.SYS_PIVOT_ROOT, b".", b".")),
    Action("pivot_root", "umount2", (b".", m.MNT_DETACH)),
    Action("pivot_root", "chdir", (b"/",)),
    # What is open on the host's mounts would keep them alive while the container waits at its gate.
    Action("pivot_root", "syscall", (process.SYS_CLOSE_RANGE, USER_NAMESPACE + 1, -1, 0)),
]

_LOOPBACK_DOWN: Final = "the loopback interface is down"
_RAISE_LOOPBACK: Final = [
    Action(
        "loopback",
        "socket",
        (_AF_INET, _SOCK_DGRAM_CLOEXEC, 0),
        keep_as=b.SCRATCH,
        warning=_LOOPBACK_DOWN,
        skip=2,
    ),
    Action("loopback", "ioctl", (b.SCRATCH, _SIOCSIFFLAGS, _IFREQ_LO_UP), warning=_LOOPBACK_DOWN),
    b.closed(b.SCRATCH),
]


_INSIDE: Final = _Fixed([*_PIVOT_ROOT, *_RAISE_LOOPBACK, _FULL_PRIORITY])


_NO_USER_NAMESPACE: Final = "its root can reach the networks of all guests: the kernel gives it no user namespace"


def _confine(plan: Plan) -> list[Action]:
    # First to the user namespace, which gives all capabilities in it. The filter before they go: installing it takes
    # CAP_SYS_ADMIN, or else no_new_privs, which would break setuid programs.
    actions: list[Action] = []
    if plan.user_namespace:
        actions += [
            Action("user namespace", "enter_user_namespace", (), warning=_NO_USER_NAMESPACE),
            b.closed(USER_NAMESPACE),
        ]
    if plan.seccomp:
        actions.append(Action("seccomp", "install_filter", ()))
    return actions


@functools.lru_cache(maxsize=8)
def _drop_capabilities(drop: CapabilityDrop) -> _Fixed:
    """After the filter. Hosts have one or two kinds of containers."""
    return _Fixed([Action("capabilities", call, arguments) for call, arguments in drop.calls])


_BEFORE_EXEC: Final = [
    Action("Exec", "umask", (INIT_UMASK,)),
    # execve(2) keeps it, and the container is to outlive the warden.
    Action("Exec", "prctl", (process.PR_SET_PDEATHSIG, 0, 0, 0, 0)),
]

_BEGIN: Final = _Fixed(_KEEP_NOTHING)
_MOUNT: Final = _Fixed(kernel_trees.MOUNT)
_FILL_DEV: Final = _Fixed(kernel_trees.FILL_DEV)
_PROTECT: Final = _Fixed(kernel_trees.PROTECT)
