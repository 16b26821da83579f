"""Which VMs there are: asked for once, then followed by their events, and looked at again now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from actors.cc.decisions.matching import columns_of, interfaces_of
from actors.cc.inputs import VmsGone, VmsSeen
from actors.cc.server import Server
from actors.cc.table import CcTable, Vm
from bus import codec
from bus.errors import BusError
from bus.messages.namespace import GetNamespaces
from bus.messages.network import GetInterfaces
from bus.messages.vlan import GetVlans
from bus.messages.vm import GetVmNames, GetVms, VmEvent, VmFlushed, VmInfo, VmTagged
from bus.port import Delivery, Subscription

ASK_S: Final = 10.0
AGAIN_S: Final = 20.0
"""Between two looks at everything: an event can be lost with a broker."""
RETRY_S: Final = 0.5
GATHER_S: Final = 0.05
"""New VMs come in dozens; they are asked for together."""
CAPACITY: Final = 50_000
MAX_IDS: Final = 500


Words = dict[str, tuple[str, ...]]


def vm_of(info: VmInfo, interfaces: Words) -> Vm:
    """As much of a VM as is needed here."""
    return Vm(
        vm_id=info.vm_id,
        namespace=info.namespace,
        name=info.name,
        uuid=info.uuid.lower(),
        kind=info.kind,
        state=info.state,
        backchannel=info.config.backchannel,
        tags=dict(info.tags),
        columns=columns_of(info),
        interfaces=interfaces,
    )


class VmWatch:
    """See the module."""

    def __init__(self, server: Server, wanted: Callable[[CcTable, str], bool]) -> None:
        self._server = server
        self._wanted = wanted
        """Whether filters of a namespace are about interfaces."""
        self._touched: set[int] = set()
        """VMs that events told of since the last question: an answer may be older."""
        self._unknown: dict[str, set[int]] = {}
        """By namespace: those that only an event has named."""
        self._gathering = False
        self._looking = asyncio.Lock()
        self._mute: dict[str, frozenset[str]] = {}
        """By namespace: UUIDs of VMs without a backchannel, which are not in the table."""

    async def run(self) -> None:
        """For as long as the actor runs."""
        subscription = await self._subscribe()
        self._server.spawn(self._follow(subscription), name="vm events")
        while True:
            await self._look()
            await asyncio.sleep(AGAIN_S)

    async def _subscribe(self) -> Subscription:
        while True:
            try:
                return await self._server.port.subscribe("vm/", capacity=CAPACITY)
            except BusError:
                await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        """At all namespaces; one that cannot be looked at, whatever is in it, does not keep the others from it."""
        pause_s = RETRY_S
        while pause_s < AGAIN_S:
            looked, failed = await self._look_at_each()
            if looked and not failed:
                return
            await asyncio.sleep(pause_s)
            pause_s *= 2 if looked else 1  # or those who could say it are just being restarted

    async def _look_at_each(self) -> tuple[int, int]:
        """How many namespaces could be looked at, and how many could not."""
        looked = failed = 0
        with contextlib.suppress(BusError):
            listed = await self._server.port.ask("namespace", GetNamespaces(), timeout_s=ASK_S)
            for namespace in sorted({info.name for info in listed.namespaces} | set(self._server.table.namespaces)):
                try:
                    await self._look_into(namespace)
                    looked += 1
                except BusError:
                    failed += 1
        return looked, failed

    async def catch_up(self, namespace: str, timeout_s: float) -> None:
        """Know all VMs that were launched before this call: their events may still be on the way."""
        with contextlib.suppress(BusError, TimeoutError):  # whoever cannot be asked now is asked again later
            async with asyncio.timeout(timeout_s):
                found = await self._server.port.ask("vm", GetVmNames(), timeout_s=timeout_s, namespace=namespace)
                ledger = self._server.table.namespaces.get(namespace)
                known = {uuid for uuid, guest in ledger.guests.items() if not guest.flushed} if ledger else set()
                if {uuid.lower() for uuid in found.uuids.values()} - known - self._mute.get(namespace, frozenset()):
                    await self._look_into(namespace)

    async def look_at_interfaces(self, namespace: str, timeout_s: float) -> None:
        """Know which interfaces guests have just now; without an answer in time nothing changes."""
        with contextlib.suppress(BusError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._look_into(namespace, interfaces=True)

    async def _look_into(self, namespace: str, *, interfaces: bool = False) -> None:
        async with self._looking:
            await self._compare(namespace, interfaces or self._wanted(self._server.table, namespace))

    async def _interfaces(self, namespace: str) -> dict[int, Words] | None:
        """What filters may say of the interfaces of each VM that has some; None if nobody can say."""
        port = self._server.port
        try:
            listed = await port.ask("network", GetInterfaces(), timeout_s=ASK_S, namespace=namespace)
            vlans = await port.ask("namespace", GetVlans(), timeout_s=ASK_S, namespace=namespace)
        except BusError:
            return None
        return {guest.vm_id: interfaces_of(guest.interfaces, vlans) for guest in listed.guests}

    async def _compare(self, namespace: str, interfaces: bool) -> None:
        self._touched.clear()
        found = await self._server.port.ask("vm", GetVms(), timeout_s=ASK_S, namespace=namespace)
        words = await self._interfaces(namespace) if interfaces else {}
        listed = {info.vm_id for info in found.vms}
        self._mute[namespace] = frozenset(info.uuid.lower() for info in found.vms if not info.config.backchannel)
        self._take(found.vms, words)
        ledger = self._server.table.namespaces.get(namespace)
        gone = tuple(
            guest.vm.vm_id
            for guest in (ledger.guests.values() if ledger else ())
            if not guest.flushed and guest.vm.vm_id not in listed | self._touched
        )
        if gone:
            self._server.feed(VmsGone(vm_ids=gone))

    def _take(self, infos: tuple[VmInfo, ...], words: dict[int, Words] | None) -> None:
        if words is None:
            words = {info.vm_id: self._known_interfaces(info.vm_id) for info in infos}
        vms = [vm_of(info, words.get(info.vm_id, {})) for info in infos if info.vm_id not in self._touched]
        changed = tuple(vm for vm in vms if vm.backchannel and not self._is_known(vm))
        if changed:
            self._server.feed(VmsSeen(vms=changed))

    def _known_interfaces(self, vm_id: int) -> Words:
        key = self._server.table.vms.get(vm_id)
        guest = self._server.table.guest(key) if key else None
        return guest.vm.interfaces if guest is not None else {}

    def _is_known(self, vm: Vm) -> bool:
        guest = self._server.table.guest(vm.key)
        return guest is not None and guest.vm == vm and not guest.flushed

    # --- events

    async def _follow(self, subscription: Subscription) -> None:
        async for delivery in subscription:
            try:
                self._event(delivery)
            except BusError as error:
                self._server.log.warn("event_not_read", topic=delivery.topic, error=str(error))

    def _event(self, delivery: Delivery) -> None:
        event = codec.decode_body(delivery.body)
        if not isinstance(event, VmEvent):
            return
        table = self._server.table
        key = table.vms.get(event.vm_id)
        guest = table.guest(key) if key else None
        if guest is None:
            if not isinstance(event, VmFlushed):
                self._unknown.setdefault(delivery.envelope.namespace, set()).add(event.vm_id)
                self._gather()
            return
        self._touched.add(event.vm_id)
        if isinstance(event, VmFlushed):
            self._server.feed(VmsGone(vm_ids=(event.vm_id,)))
            return
        vm = guest.vm
        tags = dict(event.tags) if isinstance(event, VmTagged) else vm.tags
        columns = {**vm.columns, "state": event.state.value}
        changed = msgspec.structs.replace(vm, state=event.state, tags=tags, columns=columns)
        if changed != vm:
            self._server.feed(VmsSeen(vms=(changed,)))

    def _gather(self) -> None:
        if not self._gathering:
            self._gathering = True
            self._server.spawn(self._ask_for_unknown(), name="new vms")

    async def _ask_for_unknown(self) -> None:
        try:
            while self._unknown:
                await asyncio.sleep(GATHER_S)
                namespace, ids = self._unknown.popitem()
                some = sorted(ids)[:MAX_IDS]
                if rest := ids - set(some):
                    self._unknown[namespace] = rest
                request = GetVms(target=",".join(map(str, some)))
                try:
                    found = await self._server.port.ask("vm", request, timeout_s=ASK_S, namespace=namespace)
                    wanted = self._wanted(self._server.table, namespace)
                    words = await self._interfaces(namespace) if wanted else {}
                except BusError:
                    continue  # gone again, or the next look at everything finds it
                self._touched.difference_update(some)
                self._take(found.vms, words)
        finally:
            self._gathering = False
