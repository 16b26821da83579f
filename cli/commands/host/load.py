"""`host`: how busy the hosts of a namespace are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bus.messages.network import GetRates, Rates
from bus.messages.vm import GetHostLoad, HostLoad
from cli.answers.duration import format_duration
from cli.commands.declare import Also, Answer, Args, Both, Command, Scope

NANOSECONDS = 1_000_000_000

Cell = Callable[[HostLoad, Rates], str]

COLUMNS: dict[str, Cell] = {
    "cpus": lambda load, rates: str(load.cpus),
    "load": lambda load, rates: " ".join(f"{value:.2f}" for value in load.load),
    "memused": lambda load, rates: str(load.mem_used_mib),
    "memtotal": lambda load, rates: str(load.mem_total_mib),
    "rx": lambda load, rates: f"{rates.rx_mbps:.1f}",
    "tx": lambda load, rates: f"{rates.tx_mbps:.1f}",
    "vms": lambda load, rates: str(load.vms),
    "vmlimit": lambda load, rates: str(load.vm_limit),
    "cpucommit": lambda load, rates: str(load.cpu_commit),
    "memcommit": lambda load, rates: str(load.mem_commit_mib),
    "netcommit": lambda load, rates: str(load.net_commit),
    "uptime": lambda load, rates: format_duration(load.uptime_s),
}
SINGLE: dict[str, Cell] = {"name": lambda load, rates: load.host, **COLUMNS}
"""What can be asked for alone."""


def _data(load: HostLoad, rates: Rates) -> dict[str, Any]:
    """The object that programs written for minimega read; uptime in nanoseconds."""
    return {
        "Name": load.host,
        "RxBps": rates.rx_mbps,
        "TxBps": rates.tx_mbps,
        "CPUs": load.cpus,
        "MemTotal": load.mem_total_mib,
        "MemUsed": load.mem_used_mib,
        "VMs": load.vms,
        "Limit": load.vm_limit,
        "CPUCommit": load.cpu_commit,
        "MemCommit": load.mem_commit_mib,
        "NetworkCommit": load.net_commit,
        "Load": COLUMNS["load"](load, rates),
        "Uptime": int(load.uptime_s * NANOSECONDS),
    }


def host_answer(both: Both, args: Args) -> Answer:
    """One row, or one value as text, of HostLoad and Rates; without rates there is no traffic."""
    load: HostLoad = both.reply
    rates: Rates = both.also or Rates()
    single = args.chosen(*SINGLE)
    if single:
        return Answer(SINGLE[single](load, rates))
    row = tuple(cell(load, rates) for cell in COLUMNS.values())
    return Answer(header=tuple(COLUMNS), rows=[row], data=_data(load, rates))


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
        also=Also("network", lambda args: GetRates()),
        answer=host_answer,
    ),
)
