"""What the first process of a container does between clone and exec.

It runs in its new namespaces as PID 1 and as a copy of the warden, does every step of the set-up, says "ready" and
waits at the gate. A step that fails is reported as one sentence and ends the process, and with it everything it made,
because all of it lives in its namespaces.

Until the last steps the old root stays reachable, through a descriptor; the mounts are made with the container's
root as the process's root (chroot), so that no symbolic link in an image can lead a mount or a device node out of it.
Whatever comes from the host (volumes, console, fifos) is taken as a detached mount before and put in place after.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Final, NoReturn

from shims.container import tables
from shims.container.init_program import BadInitError, check_init
from shims.container.plan import DMI_UUID, Plan
from shims.container.preinit import PreinitError, run_preinit
from shims.linux import mount, process

READY: Final = b"R"
"""First byte of a report: built; the warnings follow, a line each."""
FAILED: Final = b"E"
"""First byte of a report: a sentence follows."""
PREINIT: Final = b"P"
"""First byte of a report: preinit has been started."""
MAX_REPORT: Final = 4000
"""Bytes; a pipe takes up to 4096 as one piece (pipe(7))."""

INIT_UMASK: Final = 0o022
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFREQ_LO_UP: Final = struct.pack("16sH14x", b"lo", _IFF_UP)


def build(plan: Plan, report: int, gate: int) -> NoReturn:
    """Build the container, wait at the gate, become its init. `report` and `gate` are the warden's pipes."""
    step = "start"
    try:
        isolate(report, gate)
        work = _Work(plan, report)
        for name, act in _STEPS:
            step = name
            act(work)
        os.write(report, READY + "\n".join(work.warnings).encode()[:MAX_REPORT])
        step = "gate"
        # End of file: the warden is gone, and nobody may start what was not started.
        if not os.read(gate, 1):
            os._exit(0)
        step = "Exec"
        _become_init(plan.init)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(report, FAILED + describe(step, error).encode("utf-8", "replace")[:MAX_REPORT])
    finally:
        os._exit(1)


def describe(step: str, error: BaseException) -> str:
    """One sentence for what went wrong in `step`."""
    if isinstance(error, (BadInitError, PreinitError)):
        return str(error)
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return ": ".join(part for part in (step, where, error.strerror) if part)
    return f"{step}: {type(error).__name__}: {error}"


def isolate(report: int, gate: int) -> None:
    """Leave nothing of the warden in this process but its two pipes and its standard streams."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)  # an ignored signal would stay ignored across the exec
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # At once: a copy of the warden's lock would outlive the warden.
    low, high = sorted((report, gate))
    process.close_range(3, low - 1)
    process.close_range(low + 1, high - 1)
    process.close_range(high + 1, process.MAX_FD)
    os.setsid()
    os.umask(0)


class _Work:
    """What the steps hand on to one another."""

    def __init__(self, plan: Plan, report: int) -> None:
        self.plan = plan
        self.report = report
        self.warnings = list(plan.warnings)
        self.host_root = -1
        self.new_root = -1
        self.directory = -1
        self.console = -1
        self.uuid_for_dmi = -1
        self.uuid_inside = -1
        self.volumes: list[int] = []
        self.fifos: list[int] = []

    def enter_root(self) -> None:
        """Make the container's root this process's root."""
        os.fchdir(self.new_root)
        os.chroot(".")

    def leave_root(self) -> None:
        """See the host again."""
        os.fchdir(self.host_root)
        os.chroot(".")


def _name_host(work: _Work) -> None:
    socket.sethostname(work.plan.hostname)


def _keep_mounts_from_spreading(work: _Work) -> None:
    mount.mount(b"none", b"/", None, mount.MS_REC | mount.MS_SLAVE)
    work.host_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if work.plan.preinit:
        work.directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _fill_instance(work: _Work) -> None:
    """Make what the instance directory keeps of a container; all of it may be there from an earlier run."""
    plan = work.plan
    with contextlib.suppress(FileExistsError):
        os.mkdir(plan.instance, 0o700)
    os.chdir(plan.instance)
    if plan.overlay_options is not None:
        for name in (b"fs", b"fs_work"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(b"uuid")
    _write_file(b"uuid", plan.uuid, 0o400)


def _make_fifos(work: _Work) -> None:
    for number in range(work.plan.fifos):
        name = b"fifo%d" % number
        with contextlib.suppress(FileExistsError):
            os.mkfifo(name, 0o660)
        work.fifos.append(mount.clone_tree(name))


def _take_from_host(work: _Work) -> None:
    plan = work.plan
    work.console = mount.clone_tree(plan.console)
    if plan.has_dmi:
        work.uuid_for_dmi = mount.clone_tree(b"uuid")
    if plan.overlay_options is None:
        work.uuid_inside = mount.clone_tree(b"uuid")


def _take_volumes(work: _Work) -> None:
    work.volumes = [mount.clone_tree(volume.source) for volume in work.plan.volumes]


def _mount_root(work: _Work) -> None:
    plan = work.plan
    if plan.overlay_options is not None:
        root = plan.instance + b"/fs"
        mount.mount(plan.overlay_source, root, b"overlay", 0, plan.overlay_options)
        os.chdir(root)
    else:
        mount.bind(plan.filesystem, plan.filesystem, recursive=True)
        os.chdir(plan.filesystem)
    work.new_root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chroot(".")


def _mount_defaults(work: _Work) -> None:
    for source, target, fstype, flags, data in tables.DEFAULT_MOUNTS:
        try:
            mount.mount(source, target, fstype, flags, data)
        except FileNotFoundError:
            _make_directories(target)
            mount.mount(source, target, fstype, flags, data)


def _mount_volumes(work: _Work) -> None:
    for volume, tree in zip(work.plan.volumes, work.volumes, strict=True):
        if volume.is_directory:
            _make_directories(volume.target)
        else:
            _make_directories(os.path.dirname(volume.target))
            _touch(volume.target, 0o644)
        mount.attach_tree(tree, volume.target)
        os.close(tree)


def _make_devices(work: _Work) -> None:
    for path, number in tables.DEVICES:
        os.mknod(path, tables.DEVICE_MODE, number)


def _open_console(work: _Work) -> None:
    os.symlink(b"pts/ptmx", b"/dev/ptmx")
    _touch(b"/dev/console", 0o600)
    mount.attach_tree(work.console, b"/dev/console")
    os.close(work.console)
    # Opened by a session leader without one, it becomes the controlling terminal (tty_ioctl(4)).
    console = os.open(b"/dev/console", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(console, fd)
    os.close(console)


def _run_preinit(work: _Work) -> None:
    if work.plan.preinit:
        os.write(work.report, PREINIT)
        work.leave_root()
        os.fchdir(work.directory)
        os.umask(INIT_UMASK)
        run_preinit(work.plan.preinit)
        os.umask(0)
        work.enter_root()


def _make_symlinks(work: _Work) -> None:
    for text, path in tables.SYMLINKS:
        os.symlink(text, path)


def _protect_paths(work: _Work) -> None:
    for path in tables.READ_ONLY_PATHS:
        with contextlib.suppress(FileNotFoundError):  # not every kernel has every one
            mount.bind(path, path)
            mount.mount(b"none", path, None, mount.MS_BIND | mount.MS_REMOUNT | tables.READ_ONLY_FLAGS)


def _show_uuid(work: _Work) -> None:
    """At the DMI path and, because many hosts have none, at a path of our own."""
    try:
        if work.plan.has_dmi:
            mount.attach_tree(work.uuid_for_dmi, DMI_UUID)
    except OSError as error:
        work.warnings.append(f"the UUID is not readable by DMI: {error.strerror}")
    try:
        _make_directories(os.path.dirname(tables.UUID_INSIDE))
        if work.plan.overlay_options is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(tables.UUID_INSIDE)
            _write_file(tables.UUID_INSIDE, work.plan.uuid, 0o444)
        else:  # the directory belongs to the user: leave an empty file there, not this run's UUID
            _touch(tables.UUID_INSIDE, 0o444)
            mount.attach_tree(work.uuid_inside, tables.UUID_INSIDE)
    except OSError as error:
        work.warnings.append(f"{os.fsdecode(tables.UUID_INSIDE)} cannot be made: {error.strerror}")


def _show_fifos(work: _Work) -> None:
    if work.fifos:
        os.mkdir(b"/dev/fifos", 0o755)
        for number, tree in enumerate(work.fifos):
            path = b"/dev/fifos/fifo%d" % number
            _touch(path, 0o660)
            mount.attach_tree(tree, path)
            os.close(tree)


def _mask_paths(work: _Work) -> None:
    for path in tables.MASKED_PATHS:
        with contextlib.suppress(FileNotFoundError):
            mount.bind(b"/dev/null", path)


def _join_cgroups(work: _Work) -> None:
    work.leave_root()
    for path in work.plan.procs_files:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")  # this process, whatever number it has in which PID namespace
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        os.close(fd)


def _pivot_root(work: _Work) -> None:
    """Turn the container's root into the root and detach the host's, so that no mount of it is left to see."""
    os.fchdir(work.new_root)
    mount.pivot_root(b".", b".")
    mount.umount(b".", mount.MNT_DETACH)
    os.chdir(b"/")
    for fd in (work.host_root, work.new_root, work.directory, work.uuid_for_dmi, work.uuid_inside):
        if fd >= 0:
            os.close(fd)


def _raise_loopback(work: _Work) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ_LO_UP)
    except OSError as error:
        work.warnings.append(f"the loopback interface is down: {error.strerror}")


def _check_init(work: _Work) -> None:
    check_init(work.plan.init[0])


def _filter_system_calls(work: _Work) -> None:
    if work.plan.seccomp is not None:
        work.plan.seccomp.install()


def _drop_capabilities(work: _Work) -> None:
    work.plan.capabilities.apply()


_STEPS: Final[tuple[tuple[str, Callable[[_Work], None]], ...]] = (
    ("hostname", _name_host),
    ("mount", _keep_mounts_from_spreading),
    ("instance directory", _fill_instance),
    ("fifo", _make_fifos),
    ("console", _take_from_host),
    ("volume", _take_volumes),
    ("overlayMount", _mount_root),
    ("mount", _mount_defaults),
    ("volume", _mount_volumes),
    ("device", _make_devices),
    ("console", _open_console),
    ("containerPreinit", _run_preinit),
    ("symlink", _make_symlinks),
    ("read-only path", _protect_paths),
    ("uuid", _show_uuid),
    ("fifo", _show_fifos),
    ("masked path", _mask_paths),
    ("cgroup", _join_cgroups),
    ("pivot_root", _pivot_root),
    ("loopback", _raise_loopback),
    ("init", _check_init),
    # Before the capabilities go: installing a filter takes CAP_SYS_ADMIN, or no_new_privs, which would break setuid.
    ("seccomp", _filter_system_calls),
    ("capabilities", _drop_capabilities),
)


def _become_init(argv: tuple[bytes, ...]) -> NoReturn:
    os.umask(INIT_UMASK)
    process.prctl(process.PR_SET_PDEATHSIG, 0)  # execve(2) keeps it, and the container is to outlive the warden
    os.execve(argv[0], argv, {})  # noqa: S606  there is no shell: this is the container's init


def _make_directories(path: bytes) -> None:
    """Make `path` and what is missing above it, mode 0755 (os.makedirs gives the ones above the umask's mode)."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directories(os.path.dirname(path))
        os.mkdir(path, 0o755)


def _touch(path: bytes, mode: int) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, mode))


def _write_file(path: bytes, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
