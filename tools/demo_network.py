"""The parts of the demo about networks: one VLAN for all guests, addresses by DHCP, names by DNS."""

from __future__ import annotations

import asyncio
import json
import time

from tools.demo_guests import run_in_all
from tools.demo_program import DemoError
from tools.demo_report import first_rows, per_guest, plural
from tools.demo_run import Demo

VLAN = "lan"
GATEWAY = "198.18.0.1"
"""Of the network that is set aside for trying things out (RFC 2544), so it is not in use on this host."""
SERVER = f"dnsmasq start {GATEWAY} 198.18.1.0 198.18.15.255"
LEASE = 'cc exec sh -c "udhcpc -n -q -i veth0 -x hostname:$(hostname)"'
COLUMNS = "name,vlan,tap,ip"
ROWS = 3
SEEN_S = 15.0
"""Traffic is looked at every five seconds."""
POLL_S = 0.2


async def make_network(demo: Demo) -> str:
    """An interface of the host in the VLAN, and a server on it that gives addresses and knows names."""
    tap = f"tap create {VLAN} ip {GATEWAY}/16"
    for line in (tap, SERVER):
        await demo.command(line)
    demo.screen.show(f"$ minibus exec {tap}\n$ minibus exec {SERVER}\n")
    return f"VLAN `{VLAN}`, the host in it as {GATEWAY}, DHCP and DNS"


async def addresses(demo: Demo) -> str:
    """Each guest gets an address."""
    begin = time.perf_counter()
    await run_in_all(demo, LEASE)
    demo.screen.show(f"$ minibus exec '{LEASE}'")
    return f"{per_guest(time.perf_counter() - begin, demo.guests)}; by DHCP"


async def ping(demo: Demo) -> str:
    """Each guest reaches the last one under its name."""
    line = f"cc exec ping -c 1 demo{demo.guests}"
    begin = time.perf_counter()
    await run_in_all(demo, line)
    demo.screen.show(f"$ minibus exec {line}")
    return f"{per_guest(time.perf_counter() - begin, demo.guests)}; each reaches demo{demo.guests} by its name"


async def look(demo: Demo) -> str:
    """What was seen of them in their traffic; raises DemoError unless each has an address of its own."""
    deadline = time.monotonic() + SEEN_S
    while len(found := await _addresses(demo)) < demo.guests:
        if time.monotonic() > deadline:
            raise DemoError(f"addresses of {len(found)} of {plural(demo.guests, 'container')} were seen")
        await asyncio.sleep(POLL_S)
    command = f".columns {COLUMNS} vm info"
    demo.screen.show(f"$ minibus exec '{command}'\n{first_rows(await demo.command(command), ROWS)}\n")
    return f"vm info: {plural(len(found), 'address')} in the VLAN"


async def _addresses(demo: Demo) -> set[str]:
    answer = await demo.minibus("exec", "--json", ".columns ip vm info")
    cells = [
        row[0] for group in answer.splitlines() for response in json.loads(group) for row in response["Tabular"] or []
    ]
    return {cell for cell in cells if cell.startswith("[198.18.")}


async def remove_network(demo: Demo) -> str:
    """The server ends with the interface that it listens on."""
    await demo.command("clear tap")
    if left := (await demo.command("dnsmasq")).strip():
        raise DemoError(f"a server is left: {left}")
    demo.screen.show("$ minibus exec clear tap\n")
    return "interface of the host and server"
