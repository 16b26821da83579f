"""Small actors on the real bus, as processes of their own: `python -m tests.integration.toys KIND BASE`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from bus import codec, errors, port
from bus.actor.base import Actor, RequestContext, query
from bus.broker import broker
from bus.client import connect
from bus.messages.guest import GuestList, GuestSamples, ListGuests, SampleGuests
from bus.messages.vm import (
    ClearVmTags,
    FlushVms,
    GetVmNames,
    GetVms,
    GuestKind,
    KillVms,
    StartVms,
    StopVms,
    TagVms,
    TopVms,
    VmList,
    VmNames,
    VmReport,
    VmResult,
    VmStarted,
    VmState,
    VmUsages,
)
from bus.topics import vm_topic


class ToyVm(Actor):
    """Answers as `vm` does, and does odd things on demand."""

    kind = "vm"

    async def on_start(self) -> None:
        """Nothing is published yet."""
        self.published: dict[str, int] = {}
        self.storming = False

    def announce(self, namespace: str) -> int:
        """Publish one event; returns its number on its topic."""
        number = self.published[namespace] = self.published.get(namespace, 0) + 1
        event = VmStarted(vm_id=number, name="web", uuid="u", kind=GuestKind.CONTAINER, state=VmState.RUNNING, pid=1)
        self.publish(vm_topic(namespace, "web", "started"), event, namespace=namespace)
        return number

    @query
    async def list_vms(self, msg: GetVms, request: RequestContext) -> VmList:
        """None; one target is not found, one is a bug, one has more to say than a message can hold."""
        if msg.target == "ghost":
            raise errors.NotFoundError("vm not found: ghost", detail={"target": msg.target})
        if msg.target == "bug":
            raise KeyError("a bug")
        if msg.target == "too much":
            return VmList(vms=(), missing=("x" * codec.MAX_BODY,))
        return VmList(vms=())

    @query
    async def names(self, msg: GetVmNames, request: RequestContext) -> VmNames:
        """Who this is, and who asked."""
        return VmNames(uuids={"pid": str(os.getpid()), "sender": request.sender, "namespace": request.namespace})

    @query
    async def top(self, msg: TopVms, request: RequestContext) -> VmUsages:
        """Takes its time."""
        await asyncio.sleep(msg.window_s)
        return VmUsages(usages=())

    @query
    async def start_vms(self, msg: StartVms, request: RequestContext) -> VmReport:
        """Publish as many events as the target says; the report has the last number."""
        last = [self.announce(request.namespace) for _ in range(int(msg.target))]
        return VmReport(results=(VmResult(name="web", vm_id=last[-1]),))

    @query
    async def storm(self, msg: TagVms, request: RequestContext) -> VmReport:
        """Publish without end."""
        self.storming = True
        self.spawn(self._storm(), name="storm")
        return VmReport()

    async def _storm(self) -> None:
        while self.storming:
            self.announce("storm")
            await asyncio.sleep(0)

    @query
    async def calm(self, msg: ClearVmTags, request: RequestContext) -> VmReport:
        """Publish no more; the report has the last number."""
        self.storming = False
        return VmReport(results=(VmResult(name="web", vm_id=self.published["storm"]),))

    @query
    async def kill(self, msg: KillVms, request: RequestContext) -> VmReport:
        """Die before answering."""
        os.kill(os.getpid(), signal.SIGKILL)
        return VmReport()

    @query
    async def block(self, msg: StopVms, request: RequestContext) -> VmReport:
        """Keep the whole loop busy."""
        time.sleep(float(msg.target))  # noqa: ASYNC251 - that is the point
        return VmReport()

    @query
    async def flush(self, msg: FlushVms, request: RequestContext) -> VmReport:
        """Ask another actor, for longer than the asker waits if need be."""
        guests = await self.ask("container", ListGuests(), timeout_s=60.0)
        return VmReport(results=tuple(VmResult(name=str(guest.vm_id)) for guest in guests.guests))


class ToyContainer(Actor):
    """What `vm` asks."""

    kind = "container"

    @query
    async def list_guests(self, msg: ListGuests, request: RequestContext) -> GuestList:
        """None."""
        self.log.info("asked", namespace=request.namespace, sender=request.sender)
        return GuestList(guests=())

    @query
    async def sample(self, msg: SampleGuests, request: RequestContext) -> GuestSamples:
        """Takes its time."""
        await asyncio.sleep(msg.window_s)
        return GuestSamples(samples=())


async def subscriber(base: Path, prefix: str) -> None:
    """Subscribes, says so, and waits."""
    async with connect(base) as client:
        await client.subscribe(prefix)
        sys.stdout.write("subscribed\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> int:
    """Run one toy in the foreground."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["broker", "vm", "container", "subscriber"])
    parser.add_argument("base", type=Path)
    parser.add_argument("--hwm", type=int)
    parser.add_argument("--prefix", default="")
    arguments = parser.parse_args()
    if arguments.hwm:
        broker.HIGH_WATER_MARK = port.HIGH_WATER_MARK = arguments.hwm  # type: ignore[attr-defined]
    match arguments.kind:
        case "broker":
            return broker.run(arguments.base, None)
        case "vm":
            return ToyVm.run_process(arguments.base, None)
        case "container":
            return ToyContainer.run_process(arguments.base, None)
        case _:
            asyncio.run(subscriber(arguments.base, arguments.prefix))
            return 0


if __name__ == "__main__":
    sys.exit(main())
