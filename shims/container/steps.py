"""The steps that make a container, in their order, as lists of prepared calls. Nothing here acts.

Until the pivot the host's root stays reachable through a descriptor. The mounts are made with the container's root as
the root of the process (chroot), so that no symbolic link in an image can lead a mount or a device node out of it.
Whatever comes from the host (volumes, console, fifos) is taken as a detached mount before and attached after.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
import struct
from errno import EEXIST, ENOENT
from typing import Final

from shims.container import backchannel, tables
from shims.container.action import Action
from shims.container.build import GATE, PREINIT_STARTED, REPORT
from shims.container.cloner import dump_script
from shims.container.plan import DMI_UUID, Plan, Volume
from shims.linux import mount as m
from shims.linux import process

# Descriptors of the new process. The warden keeps these numbers out of use, and the order here is the order of opening.
_HOST_ROOT: Final = 5
_DIRECTORY: Final = 6
_CONSOLE: Final = 7
_NEW_ROOT: Final = 8
_SCRATCH: Final = 9
_FIRST_TREE: Final = _SCRATCH + 1

INIT_UMASK: Final = 0o022

_AT_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_HIDDEN_UUID: Final = b"/dev/.uuid"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SIOCSIFFLAGS: Final = 0x8914
_IFREQ_LO_UP: Final = struct.pack("16sH22x", b"lo", 0x1)  # struct ifreq, IFF_UP
_AF_INET, _SOCK_DGRAM_CLOEXEC = 2, 0o2000002


def set_up(plan: Plan) -> list[Action]:
    """All steps from the clone to the gate."""
    return [
        *_isolate(plan),
        *_fill_instance(plan),
        *_take_from_host(plan),
        *_mount_root(plan),
        *_MOUNT_DEFAULTS,
        *_mount_volumes(plan),
        *_MAKE_DEVICES,
        *_OPEN_CONSOLE,
        *_preinit(plan),
        *_PROTECT,
        *_show_uuid(plan),
        *_show_fifos(plan),
        *backchannel.show(plan, _backchannel(plan)),
        *_MASK,
        *_join_cgroups(plan),
        *_PIVOT_ROOT,
        *_RAISE_LOOPBACK,
        _FULL_PRIORITY,
        Action("init", "check_init", (plan.init[0],)),
        *_confine(plan),
    ]


def script_of(plan: Plan) -> bytes:
    """What the cloner takes: everything the new process will do."""
    actions = tuple(map(tuple, set_up(plan)))
    return dump_script((actions, tuple(map(tuple, before_exec(plan))), plan.init, plan.warnings))


def before_exec(plan: Plan) -> list[Action]:
    """What comes between the gate and the exec."""
    if plan.descriptor_limit is None:
        return _BEFORE_EXEC
    limit = struct.pack("QQ", *plan.descriptor_limit)
    return [*_BEFORE_EXEC, Action("descriptor limit", "prlimit", (0, int(resource.RLIMIT_NOFILE), limit, None))]


# --- building blocks


def _mkdir(step: str, path: bytes, mode: int = 0o755) -> Action:
    return Action(step, "mkdir", (path, mode), path, (EEXIST,))


def _make_directories(step: str, path: bytes) -> list[Action]:
    """Make `path` and all above it; each with its own mode, the umask being 0."""
    parts = path.strip(b"/").split(b"/")
    return [_mkdir(step, b"/" + b"/".join(parts[: count + 1])) for count in range(len(parts))]


def _make_file(step: str, path: bytes, mode: int) -> Action:
    return Action(step, "mknod", (path, stat.S_IFREG | mode, 0), path, (EEXIST,))


def _mount(
    step: str,
    source: bytes,
    target: bytes,
    fstype: bytes | None,
    flags: int,
    data: bytes | None = None,
    tolerated: tuple[int, ...] = (),
) -> Action:
    return Action(step, "mount", (source, target, fstype, flags, data), target, tolerated)


def _take(step: str, path: bytes, number: int) -> Action:
    """A detached bind of `path`, not recursive, as descriptor `number`."""
    flags = m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC
    return Action(step, "syscall", (m.SYS_OPEN_TREE, m.AT_FDCWD, path, flags), path, keep_as=number)


def _attach(step: str, number: int, target: bytes) -> Action:
    arguments = (m.SYS_MOVE_MOUNT, number, b"", m.AT_FDCWD, target, m.MOVE_MOUNT_F_EMPTY_PATH)
    return Action(step, "syscall", arguments, target)


def _open(step: str, path: bytes, flags: int, number: int, mode: int = 0) -> Action:
    return Action(step, "open", (path, flags, mode), path, keep_as=number)


def _write(step: str, number: int, content: bytes) -> Action:
    return Action(step, "write", (number, content, len(content)))


def _closed(number: int) -> Action:
    return Action("close", "close", (number,))


_ENTER_ROOT: Final = [Action("root", "fchdir", (_NEW_ROOT,)), Action("root", "chroot", (b".",), ".")]
_LEAVE_ROOT: Final = [Action("root", "fchdir", (_HOST_ROOT,)), Action("root", "chroot", (b".",), ".")]


# --- on the host's side


_KEEP_NOTHING: Final = [
    Action("start", "prctl", (process.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)),
    # At once: a copy of the warden's lock would outlive the warden.
    Action("start", "syscall", (process.SYS_CLOSE_RANGE, GATE + 1, -1, 0)),
    Action("start", "setsid", ()),
    Action("start", "umask", (0,)),
]

_KEEP_MOUNTS_FROM_SPREADING: Final = [
    _mount("mount", b"none", b"/", None, m.MS_REC | m.MS_SLAVE),
    _open("mount", b"/", _AT_DIRECTORY, _HOST_ROOT),
]


def _isolate(plan: Plan) -> list[Action]:
    name = os.fsencode(plan.hostname)
    named = Action("hostname", "sethostname", (name, len(name)), name)
    actions = [*_KEEP_NOTHING, named, *_KEEP_MOUNTS_FROM_SPREADING]
    if plan.preinit:
        actions.append(_open("containerPreinit", b".", _AT_DIRECTORY, _DIRECTORY))
    return actions


def _fill_instance(plan: Plan) -> list[Action]:
    """What the instance directory keeps of a container; all of it may be there from an earlier run."""
    instance = plan.instance
    step = "instance directory"
    actions = [_mkdir(step, instance, 0o700), Action(step, "chdir", (instance,), instance)]
    if plan.overlay_options is not None:
        actions += [_mkdir("overlayMount", instance + b"/fs"), _mkdir("overlayMount", instance + b"/fs_work")]
    uuid = instance + b"/uuid"
    actions += [Action("uuid", "unlink", (uuid,), uuid, (ENOENT,)), *_write_file("uuid", uuid, plan.uuid, 0o400)]
    for number in range(plan.fifos):
        fifo = instance + b"/fifo%d" % number
        actions.append(Action("fifo", "mkfifo", (fifo, 0o660), fifo, (EEXIST,)))
    return actions


def _write_file(step: str, path: bytes, content: bytes, mode: int) -> list[Action]:
    return [
        _open(step, path, _NEW_FILE, _SCRATCH, mode),
        _write(step, _SCRATCH, content),
        _closed(_SCRATCH),
    ]


def _take_from_host(plan: Plan) -> list[Action]:
    actions = [_take("console", plan.console, _CONSOLE)]
    for number, volume in enumerate(plan.volumes, _FIRST_TREE):
        actions.append(_take("volume", volume.source, number))
    for number in range(plan.fifos):
        actions.append(_take("fifo", plan.instance + b"/fifo%d" % number, _first_fifo(plan) + number))
    return actions + backchannel.take(plan, _backchannel(plan))


def _first_fifo(plan: Plan) -> int:
    return _FIRST_TREE + len(plan.volumes)


def _backchannel(plan: Plan) -> int:
    return _first_fifo(plan) + plan.fifos


def _mount_root(plan: Plan) -> list[Action]:
    if plan.overlay_options is not None:
        root = plan.instance + b"/fs"
        arguments = (plan.overlay_source, root, b"overlay", 0, plan.overlay_options)
        # Where it fails it is for the kind of file system that is to lie below, so that is what the message names.
        mounted = Action("overlayMount", "mount", arguments, plan.filesystem)
    else:
        root = plan.filesystem
        mounted = _mount("filesystem", root, root, None, m.MS_BIND | m.MS_REC)
    return [mounted, _open("filesystem", root, _AT_DIRECTORY, _NEW_ROOT), *_ENTER_ROOT]


# --- inside the container's root


_MOUNT_DEFAULTS: Final = [
    action
    for source, target, fstype, flags, data in tables.DEFAULT_MOUNTS
    for action in (_mkdir("mount", target), _mount("mount", source, target, fstype, flags, data))
]


def _mount_volumes(plan: Plan) -> list[Action]:
    actions = []
    for number, volume in enumerate(plan.volumes, _FIRST_TREE):
        actions += _mount_volume(volume, number)
    return actions


def _mount_volume(volume: Volume, number: int) -> list[Action]:
    if volume.is_directory:
        target = [
            *_make_directories("volume", volume.target),
            # A file in its place would only show as an invalid argument of move_mount(2).
            _open("volume", volume.target, _AT_DIRECTORY, _SCRATCH),
            _closed(_SCRATCH),
        ]
    else:
        target = [
            *_make_directories("volume", os.path.dirname(volume.target)),
            _make_file("volume", volume.target, 0o644),
        ]
    return [*target, _attach("volume", number, volume.target), _closed(number)]


_MAKE_DEVICES: Final = [
    Action("device", "mknod", (path, tables.DEVICE_MODE, number), path) for path, number in tables.DEVICES
]

_OPEN_CONSOLE: Final = [
    Action("console", "symlink", (b"pts/ptmx", b"/dev/ptmx"), b"/dev/ptmx"),
    _make_file("console", b"/dev/console", 0o600),
    _attach("console", _CONSOLE, b"/dev/console"),
    # Opened by a session leader without one, it becomes the controlling terminal (tty_ioctl(4)).
    _open("console", b"/dev/console", os.O_RDWR, _SCRATCH),
    *(Action("console", "dup2", (_SCRATCH, fd)) for fd in (0, 1, 2)),
    _closed(_SCRATCH),
]


# Set-ups yield to the actors (see the cloner), containers do not; taking it back needs a capability that is dropped.
_FULL_PRIORITY: Final = Action("priority", "setpriority", (os.PRIO_PROCESS, 0, 0))


def _preinit(plan: Plan) -> list[Action]:
    if not plan.preinit:
        return []
    return [
        _write("containerPreinit", REPORT, PREINIT_STARTED),
        *_LEAVE_ROOT,
        Action("containerPreinit", "fchdir", (_DIRECTORY,)),
        Action("containerPreinit", "umask", (INIT_UMASK,)),
        _FULL_PRIORITY,
        Action("containerPreinit", "run_preinit", (plan.preinit,)),
        Action("containerPreinit", "umask", (0,)),
        *_ENTER_ROOT,
    ]


_PROTECT: Final = [
    *(Action("symlink", "symlink", (text, path), path) for text, path in tables.SYMLINKS),
    # Not every kernel has every one of these paths.
    *(
        _mount("read-only path", b"none" if remount else path, path, None, flags, tolerated=(ENOENT,))
        for path in tables.READ_ONLY_PATHS
        for remount, flags in ((False, m.MS_BIND), (True, m.MS_BIND | m.MS_REMOUNT | tables.READ_ONLY_FLAGS))
    ),
]

_MASK: Final = [
    _mount("masked path", b"/dev/null", path, None, m.MS_BIND, tolerated=(ENOENT,)) for path in tables.MASKED_PATHS
]


def _show_uuid(plan: Plan) -> list[Action]:
    """At the DMI path and, because many hosts have none, at a path of our own.

    What is shown is a file of its own on the tmpfs of /dev, without a name there once it is in place: nothing that is
    written to it reaches the host, and in direct mode the user's directory gets an empty file to mount on, no more.
    """
    path = tables.UUID_INSIDE
    actions = _write_file("uuid", _HIDDEN_UUID, plan.uuid, 0o444)
    if plan.has_dmi:
        bound = _mount("uuid", _HIDDEN_UUID, DMI_UUID, None, m.MS_BIND)
        actions.append(bound._replace(warning="the UUID is not readable by DMI"))
    inside = [
        *_make_directories("uuid", os.path.dirname(path)),
        _make_file("uuid", path, 0o444),
        _mount("uuid", _HIDDEN_UUID, path, None, m.MS_BIND),
    ]
    warning = f"{os.fsdecode(path)} cannot be made"
    actions += [action._replace(warning=warning, skip=len(inside) - 1 - at) for at, action in enumerate(inside)]
    return [*actions, Action("uuid", "unlink", (_HIDDEN_UUID,), _HIDDEN_UUID)]


def _show_fifos(plan: Plan) -> list[Action]:
    actions = [_mkdir("fifo", b"/dev/fifos")] if plan.fifos else []
    for number in range(plan.fifos):
        path, tree = b"/dev/fifos/fifo%d" % number, _first_fifo(plan) + number
        actions += [_make_file("fifo", path, 0o660), _attach("fifo", tree, path), _closed(tree)]
    return actions


# --- the last steps


def _join_cgroups(plan: Plan) -> list[Action]:
    actions = [*_LEAVE_ROOT]
    for file in plan.procs_files:
        path = os.fsencode(file)
        # "0" is whoever writes it, whatever its number in which PID namespace.
        write = Action("cgroup", "write", (_SCRATCH, b"0", 1), path)
        actions += [_open("cgroup", path, os.O_WRONLY | os.O_CLOEXEC, _SCRATCH), write, _closed(_SCRATCH)]
    return actions


_PIVOT_ROOT: Final = [
    Action("pivot_root", "fchdir", (_NEW_ROOT,)),
    # With "." for both, the old root comes to lie on top of the new one, at "." (pivot_root(2)).
    Action("pivot_root", "syscall", (m.SYS_PIVOT_ROOT, b".", b".")),
    Action("pivot_root", "umount2", (b".", m.MNT_DETACH)),
    Action("pivot_root", "chdir", (b"/",)),
    # What is open on the host's mounts would keep them alive while the container waits at its gate.
    Action("pivot_root", "syscall", (process.SYS_CLOSE_RANGE, GATE + 1, -1, 0)),
]

_LOOPBACK_DOWN: Final = "the loopback interface is down"
_RAISE_LOOPBACK: Final = [
    Action(
        "loopback",
        "socket",
        (_AF_INET, _SOCK_DGRAM_CLOEXEC, 0),
        keep_as=_SCRATCH,
        warning=_LOOPBACK_DOWN,
        skip=2,
    ),
    Action("loopback", "ioctl", (_SCRATCH, _SIOCSIFFLAGS, _IFREQ_LO_UP), warning=_LOOPBACK_DOWN),
    _closed(_SCRATCH),
]


def _confine(plan: Plan) -> list[Action]:
    # The filter before the capabilities go: installing it takes CAP_SYS_ADMIN, or else no_new_privs, which would break
    # setuid programs.
    actions = [Action("seccomp", "install_filter", ())] if plan.seccomp else []
    return actions + [Action("capabilities", call, arguments) for call, arguments in plan.capabilities.calls]


_BEFORE_EXEC: Final = [
    Action("Exec", "umask", (INIT_UMASK,)),
    # execve(2) keeps it, and the container is to outlive the warden.
    Action("Exec", "prctl", (process.PR_SET_PDEATHSIG, 0, 0, 0, 0)),
]
