"""`host`: how busy the hosts of a namespace are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bus.messages.vm import GetHostLoad, HostLoad
from cli.commands.declare import Answer, Args, Command, Scope
from cli.duration import format_duration

NANOSECONDS = 1_000_000_000

COLUMNS: dict[str, Callable[[HostLoad], str]] = {
    "cpus": lambda load: str(load.cpus),
    "load": lambda load: " ".join(f"{value:.2f}" for value in load.load),
    "memused": lambda load: str(load.mem_used_mib),
    "memtotal": lambda load: str(load.mem_total_mib),
    "rx": lambda load: f"{load.rx_mbps:.1f}",
    "tx": lambda load: f"{load.tx_mbps:.1f}",
    "vms": lambda load: str(load.vms),
    "vmlimit": lambda load: str(load.vm_limit),
    "cpucommit": lambda load: str(load.cpu_commit),
    "memcommit": lambda load: str(load.mem_commit_mib),
    "netcommit": lambda load: str(load.net_commit),
    "uptime": lambda load: format_duration(load.uptime_s),
}
SINGLE: dict[str, Callable[[HostLoad], str]] = {"name": lambda load: load.host, **COLUMNS}
"""What can be asked for alone."""


def _data(load: HostLoad) -> dict[str, Any]:
    """The object that programs written for minimega read; uptime in nanoseconds."""
    return {
        "Name": load.host,
        "RxBps": load.rx_mbps,
        "TxBps": load.tx_mbps,
        "CPUs": load.cpus,
        "MemTotal": load.mem_total_mib,
        "MemUsed": load.mem_used_mib,
        "VMs": load.vms,
        "Limit": load.vm_limit,
        "CPUCommit": load.cpu_commit,
        "MemCommit": load.mem_commit_mib,
        "NetworkCommit": load.net_commit,
        "Load": COLUMNS["load"](load),
        "Uptime": int(load.uptime_s * NANOSECONDS),
    }


def host_answer(load: HostLoad, args: Args) -> Answer:
    """One row, or one value as text."""
    single = args.chosen(*SINGLE)
    if single:
        return Answer(SINGLE[single](load))
    return Answer(header=tuple(COLUMNS), rows=[tuple(cell(load) for cell in COLUMNS.values())], data=_data(load))


COMMANDS = (
    Command(
        patterns=("host", *(f"host <{name},>" for name in SINGLE)),
        help_short="report how busy the hosts are",
        help_long="""\
One row for each host of the namespace, or one value. Memory is in MiB, rx and
tx in MB/s from the VMs' point of view; the commit columns are the sums over all
living VMs on the host, of every namespace.""",
        scope=Scope.BROADCAST,
        to="vm",
        request=lambda args: GetHostLoad(),
        answer=host_answer,
    ),
)
