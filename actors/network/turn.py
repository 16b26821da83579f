"""What one step brings about, gathered while it decides."""

from __future__ import annotations

from collections.abc import Sequence

from actors.network.table import Guest, Job, NetworkTable, RunOperation, Tap, Warn, Work
from bus.actor.step import Ask, Effect, Fail, Input, Publish, Reply
from bus.messages.base import DEFAULT_NAMESPACE, Message
from bus.messages.network import (
    InterfaceConnected,
    InterfaceDisconnected,
    InterfaceRepaired,
)
from bus.messages.vlan import DISCONNECTED
from bus.messages.vm import ReportInterfaces, VmInterfaces
from bus.topics import net_topic

TELL_S = 60.0
TOLD_AT_ONCE = 100
"""VMs in one message, which has to hold all interfaces of each."""


class Turn:
    """One step in the making."""

    def __init__(self, table: NetworkTable, inp: Input) -> None:
        self.table = table
        self.inp = inp
        self.effects: list[Effect] = []

    def reply(self, job: Job, body: Message) -> None:
        """Answer a request."""
        self.effects.append(Reply(msg_id=job.msg_id, body=body))

    def fail(self, job: Job, code: str, message: str) -> None:
        """Refuse a request."""
        self.effects.append(Fail(msg_id=job.msg_id, code=code, message=message))

    def run(self, work: Work) -> None:
        """Begin an operation; nothing else begins before it has ended."""
        assert work.operation is not None  # noqa: S101 - for the type checker: whoever has none ends at once
        if not work.number:
            self.table.works += 1
            work.number = self.table.works
        self.table.under_way = work
        cause = work.jobs[0].msg_id if work.jobs else ""
        self.effects.append(RunOperation(number=work.number, operation=work.operation, cause=cause))

    def tell_vm(self, vm_ids: Sequence[int], cause: str = "") -> None:
        """Tell the owner of these VMs what their interfaces are now."""
        known = [vm_id for vm_id in vm_ids if vm_id in self.table.guests]
        for start in range(0, len(known), TOLD_AT_ONCE):
            self._tell(tuple(known[start : start + TOLD_AT_ONCE]), cause)

    def _tell(self, vm_ids: tuple[int, ...], cause: str) -> None:
        self.table.revision += 1
        tag = f"interfaces/{self.table.revision}"
        self.table.tellings[tag] = vm_ids
        body = ReportInterfaces(vms=tuple(self._interfaces(self.table.guests[vm_id]) for vm_id in vm_ids))
        self.effects.append(Ask(tag=tag, to="vm", body=body, timeout_s=TELL_S, cause=cause))

    def _interfaces(self, guest: Guest) -> VmInterfaces:
        return VmInterfaces(
            vm_id=guest.vm_id,
            taps=tuple(nic.tap for nic in guest.nics),
            networks=tuple(nic.spec for nic in guest.nics),
            revision=self.table.revision,
        )

    def warn(self, event: str, tap: str, what: str) -> None:
        """Log something."""
        self.effects.append(Warn(event=event, tap=tap, what=what))

    def nic_changed(self, guest: Guest, index: int, *, cause: str = "") -> None:
        """Tell that an interface is plugged in somewhere, or nowhere any more."""
        nic = guest.nics[index]
        is_in = nic.is_up and nic.vlan != DISCONNECTED
        kind = InterfaceConnected if is_in else InterfaceDisconnected
        event = kind(
            tap=nic.tap,
            bridge=nic.bridge if is_in else "",
            vlan=nic.vlan if is_in else DISCONNECTED,
            vm=guest.name,
            index=index,
        )
        self._publish(guest.namespace, "connected" if is_in else "disconnected", event, cause)

    def tap_made(self, tap: Tap, *, cause: str = "") -> None:
        """Tell of a host tap."""
        event = InterfaceConnected(tap=tap.name, bridge=tap.segment.bridge, vlan=tap.segment.vlan)
        self._publish(tap.namespace, "connected", event, cause)

    def tap_removed(self, tap: Tap, *, cause: str = "") -> None:
        """Tell of its end."""
        self._publish(tap.namespace, "disconnected", InterfaceDisconnected(tap=tap.name), cause)

    def repaired(self, tap: str, what: str) -> None:
        """Tell that something had gone wrong, in the namespace of whom it concerns, and log it."""
        self.warn("interface_repaired", tap, what)
        owner = self.table.taps.get(tap)
        if owner is not None:
            event = InterfaceRepaired(tap=tap, bridge=owner.segment.bridge, vlan=owner.segment.vlan, what=what)
            self._publish(owner.namespace, "repaired", event, "")
            return
        for guest, index, nic in self.table.places():
            if nic.tap == tap:
                event = InterfaceRepaired(
                    tap=tap, bridge=nic.bridge, vlan=nic.vlan, vm=guest.name, index=index, what=what
                )
                self._publish(guest.namespace, "repaired", event, "")
                return
        self._publish(DEFAULT_NAMESPACE, "repaired", InterfaceRepaired(tap=tap, what=what), "")

    def _publish(
        self,
        namespace: str,
        what: str,
        event: InterfaceConnected | InterfaceDisconnected | InterfaceRepaired,
        cause: str,
    ) -> None:
        topic = net_topic(namespace, what)
        self.effects.append(Publish(topic=topic, event=event, namespace=namespace, cause=cause))
