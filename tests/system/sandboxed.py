"""A program under what its unit takes from it, as near as that can be had without systemd.

    python -m tests.system.sandboxed BASE ACTOR WORD...   becomes the program, confined as `tools.units.NEEDS` says

The file system is read-only but for the base directory, capabilities and families of sockets are those of the unit,
and there are no new privileges.
"""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp

from tools.units import NEEDS, Needs

FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
MOST = 45
CONFINE = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
"""As `ProtectSystem=strict` and `ReadWritePaths=`."""


def command(base: str, actor: str, words: list[str]) -> list[str]:
    """The program with all that goes before it; the same program if its unit takes nothing away."""
    needs = NEEDS[actor]
    if needs.free:
        return words
    capabilities = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in needs.capabilities.split())])
    inner = ["setpriv", "--inh-caps=-all", f"--bounding-set={capabilities}", "--no-new-privs"]
    inner += [sys.executable, "-m", "tests.system.sandboxed", actor, *words]
    if needs.writes_anywhere:
        return inner
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", CONFINE, base, *inner]


def restrict(needs: Needs) -> None:
    """As `RestrictAddressFamilies=`."""
    allowed = {FAMILIES[name] for name in needs.families.split()}
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for family in set(range(1, MOST)) - allowed:
        refused = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
        calls.add_rule(refused, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    calls.load()


if __name__ == "__main__":
    restrict(NEEDS[sys.argv[1]])
    os.execvp(sys.argv[2], sys.argv[2:])
