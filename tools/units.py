"""Writes `packaging/`: units of systemd for the node and for every process singly, and what goes with them.

    python -m tools.units [--into DIR] [--prefix PREFIX]

The processes are those of the roster; what each may do is `NEEDS`, one line each. PREFIX is the environment that
minibus is installed in.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import NamedTuple

from bus.node.supervision import ChildSpec
from bus.paths import DEFAULT_BASE
from bus.settings.settings import FILE
from bus.settings.settings_file import template

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
PREFIX = "/opt/minibus"
INTERNET = "AF_UNIX AF_INET AF_INET6"
FILES_OF_OTHERS = "CAP_DAC_OVERRIDE CAP_FOWNER CAP_CHOWN"


class Needs(NamedTuple):
    """What a process must be allowed; without `free`, all else is taken from it."""

    about: str
    """What it is, for the description of its unit."""
    free: str = ""
    """Why nothing may be taken from it."""
    families: str = "AF_UNIX"
    """Of sockets."""
    capabilities: str = ""
    writes_anywhere: bool = False
    """Users name the files that it writes."""
    is_optional: bool = False
    """Runs only where it is enabled by itself."""


CLONES = "guests inherit whatever is taken from it, and it mounts, clones and limits"
STARTS = "it starts programs for users, who want the whole host"
NEEDS = {
    "warden": Needs("parent of the containers", free=CLONES),
    "broker": Needs("requests and events", capabilities="CAP_SYS_PTRACE CAP_CHOWN"),  # tells memory, lets the group in
    "namespace": Needs("namespaces and launch queues"),
    "scheduler": Needs("placement of VMs"),
    "vm": Needs("life cycle of VMs", capabilities=FILES_OF_OTHERS),
    "container": Needs("containers and their consoles", families=INTERNET, capabilities="CAP_SYS_PTRACE"),
    "network": Needs("networks", families=f"{INTERNET} AF_NETLINK AF_PACKET", free="it makes devices of the host"),
    "host": Needs("programs for users", free=STARTS),
    "files": Needs("the file area", families=INTERNET, capabilities=FILES_OF_OTHERS),
    "plumber": Needs("pipes and pipelines", free=STARTS),
    "cc": Needs("server of the agents in guests", families=INTERNET, capabilities=FILES_OF_OTHERS),
    "cli": Needs("the command socket", families=INTERNET, capabilities=FILES_OF_OTHERS, writes_anywhere=True),
    "metrics": Needs(
        "metrics for Prometheus", families=INTERNET, capabilities="CAP_NET_BIND_SERVICE", is_optional=True
    ),
    "gateway": Needs(  # libzmq looks at the names of interfaces whenever it binds, and aborts if it cannot
        "the bus over TCP",
        families=f"{INTERNET} AF_NETLINK",
        capabilities="CAP_NET_BIND_SERVICE",
        is_optional=True,
    ),
}
SERVICE = """\
Type=notify
NotifyAccess=main
Restart=on-failure
RestartSec=200ms
KillMode=process
WatchdogSec=30
TasksMax=infinity
LimitNOFILE=1024:524288
"""
SANDBOX = """\
NoNewPrivileges=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
LIMITS = "StartLimitIntervalSec=60\nStartLimitBurst=30\n"


def processes() -> list[ChildSpec]:
    """Those of the roster, the optional ones included."""
    roster = importlib.import_module("actors.roster")
    optional = [spec for spec in vars(roster).values() if isinstance(spec, ChildSpec)]
    return [*roster.ROSTER, *optional]


def module(spec: ChildSpec) -> str:
    """What `python -m` runs it."""
    name = spec.entry.partition(":")[0]
    package, _, last = name.rpartition(".")
    return package if last in ("actor", package.rpartition(".")[2]) else name


def files(prefix: str) -> dict[str, str]:
    """Everything below `packaging/`: path to text."""
    specs = processes()
    return {
        "minibus.toml": template(),
        "sysusers.d/minibus.conf": "# Whose members may use minibus.\ng minibus -\n",
        "tmpfiles.d/minibus.conf": f"d {Path(FILE).parent} 0755 root root -\nd {DEFAULT_BASE} 0755 root root -\n",
        "systemd/minibus.service": _node(prefix),
        "systemd/minibus.target": _target([spec.name for spec in specs if not NEEDS[spec.name].is_optional]),
        **{f"systemd/minibus-{spec.name}.service": _unit(spec, prefix) for spec in specs},
    }


def _node(prefix: str) -> str:
    return f"""\
# Everything of this host: the node, and what it starts and watches. Guests outlive it.
# Nothing is taken from it: {CLONES}.
[Unit]
Description=minibus
Documentation=file:{prefix}/share/doc/minibus/operations.md
After=network-online.target local-fs.target time-sync.target
Conflicts=minibus.target
{LIMITS}
[Service]
ExecStart={prefix}/bin/minibus up --config {FILE}
{SERVICE}Delegate=yes
TimeoutStartSec=60
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
"""


def _target(names: list[str]) -> str:
    return f"""\
# Every process singly, looked after by systemd instead of the node.
[Unit]
Description=minibus without a node
Conflicts=minibus.service
Wants={" ".join(f"minibus-{name}.service" for name in names)}

[Install]
WantedBy=multi-user.target
"""


def _unit(spec: ChildSpec, prefix: str) -> str:
    needs = NEEDS[spec.name]
    stays = spec.outlives_node
    reason = f"# Nothing is taken from it: {needs.free}.\n" if needs.free else ""
    note = "# It is not stopped with the target, because guests depend on it.\n" if stays else ""
    wanted = "\n[Install]\nWantedBy=minibus.target\n" if needs.is_optional else ""
    online = " network-online.target" if needs.is_optional else ""  # it listens on an address that has to be there
    return f"""\
# Made by tools/units.py.
{note}{reason}[Unit]
Description=minibus: {needs.about}
After=local-fs.target{"" if spec.stage < 2 else " minibus-broker.service"}{online}
Conflicts=minibus.service
{"" if stays else "PartOf=minibus.target" + chr(10)}{LIMITS}
[Service]
ExecStart={prefix}/bin/python -I -m {module(spec)} --config {FILE}
{SERVICE}{"Delegate=yes" + chr(10) if stays else ""}TimeoutStartSec=infinity
TimeoutStopSec={5 if stays else 15}
{"" if needs.free else _sandbox(needs)}{wanted}"""


def _sandbox(needs: Needs) -> str:
    """What is taken away. A file area or base directory elsewhere needs `ReadWritePaths=` in a drop-in."""
    where = "" if needs.writes_anywhere else f"ProtectSystem=strict\nReadWritePaths={DEFAULT_BASE}\n"
    return f"CapabilityBoundingSet={needs.capabilities}\nRestrictAddressFamilies={needs.families}\n{where}{SANDBOX}"


def write(into: Path, prefix: str) -> None:
    """Write all of it, and remove units of processes that there are no more."""
    wanted = files(prefix)
    for old in into.glob("systemd/minibus*"):
        if str(old.relative_to(into)) not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(prog="python -m tools.units", description="Write what an installation needs.")
    parser.add_argument("--into", type=Path, default=PACKAGING, help="a directory (packaging/)")
    parser.add_argument("--prefix", default=PREFIX, help=f"the environment that minibus is installed in ({PREFIX})")
    given = parser.parse_args()
    write(given.into, given.prefix)


if __name__ == "__main__":
    main()
