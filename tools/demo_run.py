"""Runs the parts of the demo one after the other, and always cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from bus.client import connect
from bus.lock import holder
from bus.paths import Paths, base_tag
from bus.port import Delivery, Port, Subscription
from shims.nuke.leftovers import find as find_leftovers
from tools.demo_program import DemoError, minibus
from tools.demo_report import EventTally, Timing, plural
from tools.demo_screen import Screen

EVENTS_S = 10.0
"""How long events may still be on their way after the command that caused them was answered."""
EVENT_POLL_S = 0.02
GONE_S = 5.0
"""How long the kernel may take to let go of what has been ended."""
GONE_POLL_S = 0.05


class Demo:
    """What the parts share: a base directory of its own, the number of guests, the screen, the events so far."""

    def __init__(self, base: Path, guests: int, screen: Screen) -> None:
        self.base = base
        self.guests = guests
        self.screen = screen
        self.names = f"demo[1-{guests}]"
        self.rootfs = Paths(base).files / "rootfs"
        self.timings: list[Timing] = []
        self.tally = EventTally()
        self.bus = AsyncExitStack()
        self.port: Port | None = None
        self._life: Subscription | None = None

    @property
    def log(self) -> Path:
        """What the actors have to say."""
        return Paths(self.base).log

    def log_text(self) -> str:
        """The log so far, empty if there is none."""
        try:
            return self.log.read_text("utf-8", "replace")
        except OSError:
            return ""

    async def minibus(self, *words: str) -> str:
        """What a `minibus` command prints; raises DemoError if it fails."""
        return await minibus(self.base, *words)

    async def command(self, line: str) -> str:
        """What a command of the command language prints; raises DemoError if it fails."""
        return await self.minibus("exec", line)

    async def listen(self) -> None:
        """Follow the life cycle of all VMs from now on."""
        self.port = await self.bus.enter_async_context(connect(self.base))
        self._life = await self.port.subscribe("vm/")

    async def watched(self, line: str, *expected: str) -> list[Delivery]:
        """Carry out a command and follow its events until each guest has had all of the expected ones.

        Returns the events; raises DemoError if the command fails or an event does not come.
        """
        if self._life is None:
            raise DemoError("the demo does not listen to the bus yet")
        seen: list[Delivery] = []
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._failure(line), name=line)
            await self._follow(self._life, expected, work, seen)
        if (error := work.result()) is not None:
            raise error
        for what in expected:
            if (came := self.tally.counts[what]) < self.guests:
                raise DemoError(f"`{line}`: {came} of {plural(self.guests, f'`{what}` event')} came")
        return seen

    async def _failure(self, line: str) -> DemoError | None:
        try:
            await self.command(line)
        except DemoError as error:
            return error
        return None

    async def _follow(
        self, life: Subscription, expected: Sequence[str], work: asyncio.Task[DemoError | None], seen: list[Delivery]
    ) -> None:
        """Take events until all have come, or the command failed, or they do not come though it was answered."""
        deadline = float("inf")
        while not work.done() or (self._lacks(expected) and work.result() is None and time.monotonic() < deadline):
            if work.done():
                deadline = min(deadline, time.monotonic() + EVENTS_S)
            delivery = await _next_event(life)
            if delivery is not None:
                self.tally.take(delivery.topic, delivery.envelope.epoch, delivery.envelope.topic_seq)
                seen.append(delivery)
                self.screen.count(self.tally.counts[expected[-1]], self.guests)

    def _lacks(self, expected: Sequence[str]) -> bool:
        return any(self.tally.counts[what] < self.guests for what in expected)


async def _next_event(life: Subscription) -> Delivery | None:
    try:
        return await asyncio.wait_for(life.next(), EVENT_POLL_S)
    except TimeoutError:
        return None


class Step(NamedTuple):
    """One part of the demo. `work` returns a remark for the closing table and raises DemoError if it fails."""

    title: str
    """As it stands in the closing table."""
    doing: str
    """As it is said while it goes on."""
    work: Callable[[Demo], Awaitable[str]]


async def run_steps(demo: Demo, steps: Sequence[Step]) -> None:
    """Run the parts in order, timing each; raises DemoError of the first that fails."""
    for step in steps:
        await run_step(demo, step)


async def run_step(demo: Demo, step: Step) -> None:
    """Run one part and note how long it took."""
    demo.screen.begin(step.doing)
    begin = time.perf_counter()
    try:
        remark = await step.work(demo)
    finally:
        demo.screen.end()
    demo.timings.append(Timing(step.title, time.perf_counter() - begin, remark))


async def clean_up(demo: Demo) -> list[str]:
    """Stop the actors and the guests, look for what is left, remove the base directory; returns what is wrong."""
    complaints: list[str] = []
    await demo.bus.aclose()

    async def stop(demo: Demo) -> str:
        try:
            await _stop(demo)
        except DemoError as error:
            complaints.append(str(error))
        return ""

    async def look(demo: Demo) -> str:
        left = await _left(demo.base)
        complaints.extend(left)
        return ""

    await run_step(demo, Step("stop", "stopping the actors", stop))
    await run_step(demo, Step("look for leftovers", "looking for leftovers", look))
    if not complaints:
        shutil.rmtree(demo.base, ignore_errors=True)
        if demo.base.exists():
            complaints.append(f"directory {demo.base}")
    return complaints


async def _stop(demo: Demo) -> None:
    run = Paths(demo.base).run
    if holder(run / "warden.lock") and not holder(run / "node.lock"):
        await demo.minibus("up", "--detach")  # the node was killed, and its containers run on
    if holder(run / "node.lock"):
        with contextlib.suppress(DemoError):  # what is left is looked for afterwards
            await demo.command("clear tap")
        await demo.minibus("down", "--guests")


async def _left(base: Path) -> list[str]:
    """What is still on the machine of a base directory, once the kernel has had time to let go."""
    tag = base_tag(base)
    deadline = time.monotonic() + GONE_S
    while found := find_leftovers(base, tag):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(GONE_POLL_S)
    return found
