"""What the bus tells of the life of VMs, to `minibus tap` and to programs."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from bus.client import connect
from bus.messages.namespace import QueueVms
from bus.messages.vm import GuestKind, KillVms, StartVms, StopVms
from bus.port import Subscription
from tests.system.product import MINIBUS, PATIENCE_S, Console, Product, shell_init


class Tap:
    """`minibus tap --json` on a topic."""

    def __init__(self, product: Product, topic: str) -> None:
        command = [str(MINIBUS), "tap", "--base", str(product.base), "--json", topic]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)

    def read(self) -> dict[str, Any]:
        """The next event."""
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        with self._process:
            self._process.terminate()


@pytest.fixture
def tap(shared: Product, console: Console) -> Iterator[Tap]:
    """A tap on all that happens to VMs, which has begun to listen."""
    tap = Tap(shared, "vm/")
    try:
        # It says nothing before the first event, so events are made until one arrives.
        arrived = asyncio.run(first_event(shared, console, tap))
        assert arrived["topic"] in ("vm/minimega/probe/launched/", "vm/minimega/probe/tagged/")
        console.ok("vm kill probe", "vm flush probe")
        while tap.read()["topic"] != "vm/minimega/probe/flushed/":
            pass
        yield tap
    finally:
        tap.close()


async def first_event(product: Product, console: Console, tap: Tap) -> dict[str, Any]:
    """Change a tag again and again until the tap has seen it."""
    console.ok("vm launch container probe")
    reading = asyncio.get_running_loop().run_in_executor(None, tap.read)
    async with asyncio.timeout(PATIENCE_S):
        number = 0
        while not reading.done():
            number += 1
            console.ok(f"vm tag probe number {number}")
            await asyncio.wait({reading}, timeout=0.05)
    return await reading


def test_tap_sees_a_life_in_order(shared: Product, console: Console, tap: Tap) -> None:
    console.ok("vm launch container tapped")
    pid = int(console.vm("tapped")["pid"])
    console.ok(
        "vm start tapped", "vm stop tapped", "vm start tapped", "vm tag tapped k v", "vm kill tapped", "vm flush"
    )
    whats = ["launched", "started", "stopped", "started", "tagged", "quit", "flushed"]
    events = [tap.read() for _ in whats]
    assert [event["topic"] for event in events] == [f"vm/minimega/tapped/{what}/" for what in whats]
    assert [event["topic_seq"] for event in events] == [1, 1, 1, 2, 1, 1, 1]
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    assert len({event["epoch"] for event in events}) == 1
    times = [event["time"] for event in events]
    assert times == sorted(times)
    host = socket.gethostname()
    for event in events:
        assert set(event) == {"topic", "epoch", "seq", "topic_seq", "time", "publisher", "body"}
        assert event["publisher"] == f"vm@{host}"
        assert event["body"]["name"] == "tapped"
    states = ["BUILDING", "RUNNING", "PAUSED", "RUNNING", "RUNNING", "QUIT", "QUIT"]
    assert [event["body"]["state"] for event in events] == states
    assert events[0]["body"]["pid"] == pid
    assert events[4]["body"]["tags"] == {"k": "v"}


async def next_event(events: Subscription) -> tuple[str, str]:
    """Topic and cause of the next event."""
    async with asyncio.timeout(PATIENCE_S):
        delivery = await events.next()
    return delivery.topic.removeprefix("vm/minimega/"), delivery.envelope.cause


async def test_events_name_the_request_that_caused_them(shared: Product, console: Console) -> None:
    async with connect(shared.base) as port:
        events = await port.subscribe("vm/")
        await port.ask("vm", StartVms(target="all"), timeout_s=10, msg_id="nothing-to-do")
        await port.ask("namespace", QueueVms(kind=GuestKind.CONTAINER, names="a"), timeout_s=10, msg_id="r-launch")
        topic, cause = await next_event(events)
        assert topic == "a/launched/"
        assert "r-launch" in cause
        for msg_id, request, what in (
            ("r-start", StartVms(target="a"), "started"),
            ("r-stop", StopVms(target="a"), "stopped"),
            ("r-kill", KillVms(target="a"), "quit"),
        ):
            await port.ask("vm", request, timeout_s=10, msg_id=msg_id)
            assert await next_event(events) == (f"a/{what}/", msg_id)


async def test_an_init_that_ends_by_itself_is_told(shared: Product, console: Console) -> None:
    async with connect(shared.base) as port:
        events = await port.subscribe("vm/")
        console.ok(shell_init("exit 3"), "vm launch container a", "vm start a")
        assert [(await next_event(events))[0] for _ in range(3)] == ["a/launched/", "a/started/", "a/failed/"]
