"""The parts of the demo in their order. A later part of minibus adds a function and a line to `STEPS`."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from bus import codec
from bus.library.pipes import PipeWriter
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.pipe import PipeBatch
from bus.port import Subscription
from bus.topics import pipe_topic
from shims.images import agent_build, rootfs
from tools import demo_guests, demo_network
from tools.demo_program import DemoError
from tools.demo_report import event_name, first_rows, per_guest, plural
from tools.demo_run import Demo, Step

AGENT = Path(__file__).parents[1] / "build" / "agent" / "minibus-agent"
"""Made when it is not there yet, or of other parts."""
COLUMNS = "id,name,state,uptime,pid"
ROWS = 5
PIPE = "demo"
PIPE_LINES = 20_000
LINES_AT_ONCE = 500
TAP_S = 10.0
"""How long the lines may be on their way."""
EVENTS = 3


async def make_rootfs(demo: Demo) -> str:
    """A root file system that all containers share; what each writes goes to a layer of its own."""
    try:
        agent_build.build(AGENT)
        rootfs.build(demo.rootfs, agent=AGENT)
    except (agent_build.BuildError, rootfs.RootfsError) as error:
        raise DemoError(str(error)) from None
    size = sum(path.lstat().st_size for path in demo.rootfs.rglob("*") if path.is_file() and not path.is_symlink())
    return f"busybox and the agent, {size / (1024 * 1024):.1f} MiB"


async def start_actors(demo: Demo) -> str:
    """Headless, and then a connection to the bus."""
    await demo.minibus("up", "--detach")
    await demo.listen()
    return "every actor ready"


async def launch(demo: Demo) -> str:
    """Build all containers; none runs anything yet."""
    await demo.command(f"vm config filesystem {demo.rootfs}")
    await demo.command(f"vm config net {demo_network.VLAN}")
    begin = time.perf_counter()
    await demo.watched(f"vm launch container {demo.names}", "launched")
    return per_guest(time.perf_counter() - begin, demo.guests)


async def start(demo: Demo) -> str:
    """Let their inits run."""
    begin = time.perf_counter()
    await demo.watched("vm start all", "started")
    return per_guest(time.perf_counter() - begin, demo.guests)


async def look(demo: Demo) -> str:
    """Show some of what `vm info` and `minibus ps` show; raises DemoError unless every guest runs."""
    command = f".columns {COLUMNS} vm info"
    table = await demo.command(command)
    demo.screen.show(f"$ minibus exec '{command}'\n{first_rows(table, ROWS)}\n")
    demo.screen.show(f"$ minibus ps\n{await demo.minibus('ps')}\n")
    running = await running_guests(demo)
    if running != demo.guests:
        raise DemoError(f"{running} of {plural(demo.guests, 'container')} run")
    return f"vm info: {running} running"


async def running_guests(demo: Demo) -> int:
    """How many guests `vm info` calls RUNNING."""
    answer = await demo.minibus("exec", "--json", ".filter state=running .columns state vm info")
    return sum(len(response["Tabular"] or []) for group in answer.splitlines() for response in json.loads(group))


async def pipe(demo: Demo) -> str:
    """Write into a pipe while a plain subscriber of the bus taps it; raises DemoError unless it sees every line."""
    if demo.port is None:
        raise DemoError("the demo is not connected to the bus")
    lines = [f"line {number} of {PIPE_LINES}\n".encode() for number in range(1, PIPE_LINES + 1)]
    tap = await demo.port.subscribe(pipe_topic(DEFAULT_NAMESPACE, PIPE))
    try:
        begin = time.perf_counter()
        async with PipeWriter(demo.port, PIPE) as writer:
            for at in range(0, len(lines), LINES_AT_ONCE):
                await writer.write(b"".join(lines[at : at + LINES_AT_ONCE]))
        seen = await _tapped(tap, len(lines))
        took_s = time.perf_counter() - begin
        demo.screen.show(f"$ minibus exec pipe\n{await demo.command('pipe')}\n")
    finally:
        tap.close()
    if seen != b"".join(lines):
        raise DemoError(f"the tap saw other lines than those written: {len(seen)} bytes")
    return f"{len(lines):,} lines tapped by a subscriber, {len(lines) / took_s:,.0f} a second"


async def _tapped(tap: Subscription, count: int) -> bytes:
    """The data of the next so many messages."""
    data: list[bytes] = []
    try:
        async with asyncio.timeout(TAP_S):
            while count > 0:
                batch = codec.decode_body((await tap.next()).body)
                if isinstance(batch, PipeBatch):
                    data.append(batch.data)
                    count -= batch.count
    except TimeoutError:
        raise DemoError(f"{count} lines never came") from None
    return b"".join(data)


async def kill(demo: Demo) -> str:
    """End all, and see on the bus that they did."""
    begin = time.perf_counter()
    events = await demo.watched("vm kill all", "quit")
    took_s = time.perf_counter() - begin
    names = ", ".join(event_name(event.topic) for event in events[:EVENTS])
    demo.screen.show(f"events while `vm kill all` ran: {names}, ... ({len(events)} in all)\n")
    return per_guest(took_s, demo.guests)


async def flush(demo: Demo) -> str:
    """Forget them, with all that they left."""
    await demo.watched("vm flush", "flushed")
    return f"{plural(demo.guests, 'record')} and instance directories"


STEPS = (
    Step("make a root file system", "making a root file system", make_rootfs),
    Step("start the actors", "starting the actors", start_actors),
    Step("network", "making a network", demo_network.make_network),
    Step("launch", "launching containers", launch),
    Step("start", "starting containers", start),
    Step("look", "looking at them", look),
    Step("pipe", "tapping a pipe", pipe),
    Step("agents", "waiting for the agents in them", demo_guests.wait_for_agents),
    Step("addresses", "giving them addresses", demo_network.addresses),
    Step("ping", "having each of them ping the last", demo_network.ping),
    Step("command", "running a command in all of them", demo_guests.command),
    Step("pipe between guests", "connecting two of them by a pipe", demo_guests.pipe_between_guests),
    Step("look again", "looking at their addresses", demo_network.look),
    Step("kill", "killing containers", kill),
    Step("flush", "flushing containers", flush),
    Step("no network", "removing the network", demo_network.remove_network),
)
