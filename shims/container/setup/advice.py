"""What to do about the failures of a set-up that come from the host, not from the request. Data only."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOSPC, ENOSYS, EPERM

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import Final


_PRIVILEGED: Final = "minibus lacks CAP_SYS_ADMIN: run it on the host itself, or in a privileged container"
_NO_TERMINALS: Final = "mount devpts on /dev/pts, and make /dev/ptmx"

_ADVICE: Final = {
    ("overlayMount", ENODEV): (
        "this kernel has no overlayfs: run `modprobe overlay`, or set `vm config snapshot false`"
    ),
    ("overlayMount", EINVAL): (
        "it, or the base directory, is on a kind of file system that takes no overlay: set `vm config snapshot false`, "
        "or keep both on ext4, xfs, btrfs or tmpfs"
    ),
    ("overlayMount", EPERM): _PRIVILEGED,
    ("mount", ENODEV): "this kernel lacks that kind of file system",
    ("mount", ENOSPC): "raise fs.mount-max",
    ("mount", EPERM): _PRIVILEGED,
    ("clone", EPERM): _PRIVILEGED,
    ("clone", EINVAL): "this kernel lacks the namespaces mnt, pid, net, ipc or uts: boot one that has them",
    ("clone", ENOSPC): "a limit of namespaces is reached: raise the user.max_*_namespaces of sysctl",
    ("clone", EAGAIN): "a limit of processes is reached: raise kernel.pid_max and kernel.threads-max",
    ("/dev/ptmx", ENOENT): _NO_TERMINALS,
    ("/dev/ptmx", ENODEV): _NO_TERMINALS,
    ("/dev/ptmx", ENOSPC): "all pseudo-terminals are in use: raise kernel.pty.max",
}
"""By step, or file, and errno."""

_ANYWHERE: Final = {
    ENOSYS: "minibus needs Linux 5.9 or later",
    ENFILE: "raise fs.file-max",
    EMFILE: "raise the hard limit of open files",
}


def advised(sentence: str, step: str, number: int | None) -> str:
    """The sentence, with what to do where that is known."""
    advice = _ADVICE.get((step, number or 0)) or _ANYWHERE.get(number or 0)
    return f"{sentence}; {advice}" if advice else sentence
