"""A small root file system made of Debian's busybox-static, for demonstrations and tests.

python -m shims.images.rootfs DIR [AGENT]
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

BUSYBOX: Final = Path("/bin/busybox")
DIRECTORIES: Final = ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "proc", "dev", "sys", "tmp", "run", "root", "var")

# Only builtins of the shell, so that a thousand of these start quickly and each stays one process.
INIT: Final = """#!/bin/sh
# PID 1: say so on the console, run what is planted, and offer a shell to whoever presses Enter.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux
[ -x /etc/minibus/start ] && /etc/minibus/start
if [ -d /dev/minibus ] && [ -x /bin/minibus-agent ]; then
    minibus-agent -v=false -logfile /miniccc.log &
fi
read -r name </proc/sys/kernel/hostname
echo "$name is up; press Enter for a shell"
while :; do
    if read -r line; then sh -i; else sleep 3600; fi
done
"""

# What busybox's udhcpc runs when it has got a lease, or lost it; it is where udhcpc looks for it.
DHCP: Final = """#!/bin/sh
case "$1" in
deconfig)
    ip address flush dev "$interface" scope global
    ip link set "$interface" up
    ;;
bound | renew)
    ip address replace "$ip/${mask:-32}" dev "$interface"
    for gateway in $router; do
        ip route replace default via "$gateway" dev "$interface"
        break
    done
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
"""
DHCP_PATH: Final = "etc/udhcpc/default.script"

FILES: Final = {
    "etc/minibus/uuid": "",  # something to mount on, which spares each container making it
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


class RootfsError(Exception):
    """Why there is no root file system; one sentence."""


def build(directory: Path, busybox: Path = BUSYBOX, agent: Path | None = None) -> None:
    """Make or complete the root file system in `directory`; raises `RootfsError`.

    `agent` is the guest agent's program: /bin/minibus-agent, and /miniccc for those who know minimega's.
    """
    if not busybox.exists():
        raise RootfsError(f"{busybox} is missing: install the Debian package busybox-static")
    try:
        _build(directory, busybox)
        if agent is not None:
            _install(agent, directory / "bin" / "minibus-agent")
            _link(directory / "miniccc", "bin/minibus-agent")
    except OSError as error:
        raise RootfsError(f"cannot build {directory}: {error.filename}: {error.strerror}") from None


def _build(directory: Path, busybox: Path) -> None:
    for name in DIRECTORIES:
        (directory / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    (directory / "tmp").chmod(0o1777)
    _install(busybox, directory / "bin" / "busybox")
    for applet in applets(busybox):
        _link(directory / "bin" / applet, "busybox")
    for name, text in FILES.items():
        path = directory / name
        if not path.exists():
            path.parent.mkdir(mode=0o755, exist_ok=True)
            path.write_text(text)
    for program, text in (("init", INIT), (DHCP_PATH, DHCP)):
        path = directory / program
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def _install(source: Path, program: Path) -> None:
    """Copy a program, by rename, unless it is there already."""
    if program.exists() and filecmp.cmp(source, program, shallow=False):
        return
    draft = program.with_suffix(".new")
    shutil.copyfile(source, draft)
    draft.chmod(0o755)
    draft.rename(program)


def _link(link: Path, target: str) -> None:
    """Unless something of that name is there."""
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target)


def applets(busybox: Path) -> list[str]:
    """The names under which `busybox` can be called; raises `RootfsError` if it cannot say."""
    try:
        result = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise RootfsError(f"{busybox} --list does not work: {error}") from None
    return [name for name in result.stdout.split() if "/" not in name and name != "busybox"]


def main(arguments: list[str]) -> int:
    """Command line entry point."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m shims.images.rootfs DIR [AGENT]\n")
        return 2
    try:
        build(Path(arguments[0]), agent=Path(arguments[1]) if arguments[1:] else None)
    except RootfsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
