"""The parts of the demo in which guests do something: a command in all of them, and a pipe between two."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bus import codec
from bus.messages.base import DEFAULT_NAMESPACE, Message
from bus.messages.cc import CommandDone, CommandState, GetConnectedGuests
from bus.messages.pipe import GetPipes
from bus.port import Port, Subscription
from tools.demo_program import DemoError
from tools.demo_report import first_rows, per_guest, plural
from tools.demo_run import Demo

PIPE = "between"
LINES = 10_000
PATIENCE_S = 60.0
POLL_S = 0.05
ROWS = 3
COLUMNS = "vm,state,code,stdout"


async def wait_for_agents(demo: Demo) -> str:
    """Until each guest's agent is connected."""
    port = _port(demo)
    begin = time.perf_counter()
    connected = 0
    while connected < demo.guests:
        if time.perf_counter() - begin > PATIENCE_S:
            raise DemoError(f"{connected} of {plural(demo.guests, 'agent')} came")
        await asyncio.sleep(POLL_S)
        reply = await port.ask("cc", GetConnectedGuests(), timeout_s=PATIENCE_S, namespace=DEFAULT_NAMESPACE)
        connected = len(reply.uuids)
        demo.screen.count(connected, demo.guests)
    return plural(connected, "agent")


async def command(demo: Demo) -> str:
    """A program in each guest, whose answers are collected; raises DemoError unless each gives its own name."""
    begin = time.perf_counter()
    number = await run_in_all(demo, "cc exec hostname")
    took_s = time.perf_counter() - begin
    outcomes = await _json(demo, f"cc outcomes {number}")
    names = {outcome["uuid"]: outcome["vm"] for outcome in outcomes["Data"]["outcomes"]}
    answers = await demo.command(f".annotate false cc responses {number}")
    wanted = "\n\n".join(f"{number}/{uuid}/stdout:\n{name}" for uuid, name in sorted(names.items()))
    if len(names) != demo.guests or answers.strip() != wanted:
        raise DemoError("some guests gave no answer, or another one's")
    table = await demo.command(f".columns {COLUMNS} cc outcomes {number}")
    demo.screen.show(f"$ minibus exec 'cc exec hostname'\n$ minibus exec 'cc outcomes {number}'")
    demo.screen.show(f"{first_rows(table, ROWS)}\n")
    return f"{per_guest(took_s, demo.guests)}; each answered with its own name"


async def run_in_all(demo: Demo, line: str) -> int:
    """Run a program in each guest; returns the number of the command, raises DemoError if it fails in one."""
    async with _events(demo) as events:
        number = await _post(demo, line)
        for count in range(demo.guests):
            await _done(events, number)
            demo.screen.count(count + 1, demo.guests)
    return number


async def pipe_between_guests(demo: Demo) -> str:
    """One guest writes, another reads; raises DemoError unless it gets every byte."""
    first, last = "demo1", f"demo{demo.guests}"
    write = f"cc exec stdout={PIPE} seq {LINES}"
    read = f'cc background stdin={PIPE} sh -c "head -n {LINES} | sha256sum"'
    async with _events(demo) as events:
        begin = time.perf_counter()
        await demo.command(f"cc filter name={last}")
        reader = await _post(demo, read)
        await _until_read(demo)
        await demo.command(f"cc filter name={first}")
        await _post(demo, write)
        await _done(events, reader)
        took_s = time.perf_counter() - begin
    await demo.command("clear cc filter")
    demo.screen.show(f"in {first}:  $ {write}\nin {last}:  $ {read}\n\n$ minibus exec pipe")
    demo.screen.show(f"{await demo.command('pipe')}\n")
    data = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
    answer = await demo.command(f".annotate false cc responses {reader} raw")
    if answer.split()[:1] != [hashlib.sha256(data).hexdigest()]:
        raise DemoError(f"{last} read something else than {first} wrote: {answer[:100]}")
    return f"{LINES:,} lines from {first} to {last}, {LINES / took_s:,.0f} a second"


async def _until_read(demo: Demo) -> None:
    """What is written before anybody reads is nobody's."""
    end_s = time.monotonic() + PATIENCE_S
    while not await _readers(demo):
        if time.monotonic() > end_s:
            raise DemoError(f"nobody has come to read the pipe `{PIPE}`")
        await asyncio.sleep(POLL_S)


async def _readers(demo: Demo) -> int:
    request = GetPipes()
    reply = await _port(demo).ask("plumber", request, timeout_s=PATIENCE_S, namespace=DEFAULT_NAMESPACE)
    return sum(pipe.readers for pipe in reply.pipes if pipe.name == PIPE)


def _port(demo: Demo) -> Port:
    if demo.port is None:
        raise DemoError("the demo is not connected to the bus")
    return demo.port


@asynccontextmanager
async def _events(demo: Demo) -> AsyncIterator[Subscription]:
    """What guests tell from now on."""
    events = await _port(demo).subscribe("cc/")
    try:
        yield events
    finally:
        events.close()


async def _json(demo: Demo, line: str) -> dict[str, Any]:
    """The only response to a command."""
    answer = await demo.minibus("exec", "--json", line)
    ((response,),) = [json.loads(group) for group in answer.splitlines()]
    found: dict[str, Any] = response
    return found


async def _post(demo: Demo, line: str) -> int:
    """Give guests something to do; its number."""
    return int((await _json(demo, line))["Data"])


async def _done(events: Subscription, number: int) -> None:
    """Until one more guest has done it; raises DemoError if it went wrong."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event: Message = codec.decode_body((await events.next()).body)
                if isinstance(event, CommandDone) and event.id == number:
                    break
    except TimeoutError:
        raise DemoError(f"command {number} has not ended within {PATIENCE_S:g} s") from None
    outcome = event.outcome
    if (outcome.state, outcome.code) != (CommandState.EXITED, 0):
        raise DemoError(f"command {number} in {outcome.vm}: {outcome.state.value} {outcome.code} {outcome.error}")
