"""Which guests are mounted on this host. Pure.

A mount lasts as long as the line that carries it: the agent's numbers for files mean nothing to another session. What
was lost stays on the list until it is cleared, mounted again, or its VM is flushed.
"""

from __future__ import annotations

from actors.cc.decisions.guests import ledger_of
from actors.cc.decisions.tunnel_table import find, unknown
from actors.cc.inputs import CloseMounts, Mounted, MountLost, OpenMount, Unmounted
from actors.cc.table import CcTable, Guest, Ledger, Mount, Waiting
from bus.actor.step import Effect, Fail, Publish, Received, Reply
from bus.messages.base import Ack
from bus.messages.mount import GuestMounted, GuestUnmounted, MountGuest, MountState, UnmountGuests
from bus.topics import cc_topic

MAX_PATH = 4095
RESTARTED = "minibus was restarted"


def mount(table: CcTable, inp: Received, msg: MountGuest) -> list[Effect]:
    """One guest; answered when the kernel has done its part."""

    def refusal(code: str, sentence: str) -> list[Effect]:
        return [Fail(msg_id=inp.msg_id, code=code, message=sentence)]

    if not msg.path:
        return refusal("invalid", "must provide a mount path: an empty directory of this host")
    if not msg.path.startswith("/") or "\0" in msg.path or len(msg.path) > MAX_PATH:
        return refusal("invalid", f"`{msg.path[:200]}` is no absolute path")
    ledger = table.namespaces.get(inp.namespace)
    guest = find(ledger, msg.target)
    if ledger is None or guest is None:
        return refusal("not_found", unknown(msg.target))
    if not guest.connected:
        return refusal("unavailable", f"the agent of {guest.vm.name} is not connected")
    known = ledger.mounts.get(guest.vm.uuid)
    if known is not None and known.state is not MountState.LOST:
        return refusal("conflict", f"{guest.vm.name} is mounted at {known.path} already")
    ledger.mounts[guest.vm.uuid] = Mount(path=msg.path, asked=msg.path, state=MountState.MOUNTING)
    table.waiting[inp.msg_id] = Waiting(namespace=inp.namespace, mount=guest.vm.uuid)
    return [OpenMount(key=guest.vm.key, path=msg.path, msg_id=inp.msg_id)]


def mounted(table: CcTable, inp: Mounted) -> list[Effect]:
    """It is there, or cannot be."""
    waiting = table.waiting.pop(inp.msg_id, None)
    if waiting is None:
        return []
    ledger = table.namespaces.get(waiting.namespace)
    guest = ledger.guests.get(waiting.mount) if ledger else None
    own = ledger.mounts.get(waiting.mount) if ledger else None
    if ledger is None or guest is None or own is None or inp.error:
        if ledger is not None and own is not None and own.state is MountState.MOUNTING:
            del ledger.mounts[waiting.mount]
        return [Fail(msg_id=inp.msg_id, code=inp.code or "unavailable", message=inp.error or "the VM is gone")]
    own.path, own.source, own.state = inp.path, inp.source, MountState.MOUNTED
    namespace, uuid = guest.vm.key
    event = GuestMounted(uuid=uuid, vm=guest.vm.name, path=own.path)
    told = Publish(topic=cc_topic(namespace, uuid, "mounted"), event=event, namespace=namespace)
    return [told, Reply(msg_id=inp.msg_id, body=Ack())]


def lost(table: CcTable, inp: MountLost) -> list[Effect]:
    """Nobody serves it any more."""
    ledger = table.namespaces.get(inp.key[0])
    guest = table.guest(inp.key)
    own = ledger.mounts.get(inp.key[1]) if ledger else None
    if own is None or guest is None or own.state is not MountState.MOUNTED:
        return []
    return [_lose(guest, own, inp.reason)]


def _lose(guest: Guest, own: Mount, reason: str) -> Publish:
    own.state, own.source, own.reason = MountState.LOST, "", reason
    return _gone(guest, own, reason)


def _gone(guest: Guest, own: Mount, reason: str = "") -> Publish:
    namespace, uuid = guest.vm.key
    event = GuestUnmounted(uuid=uuid, vm=guest.vm.name, path=own.path, reason=reason)
    return Publish(topic=cc_topic(namespace, uuid, "unmounted"), event=event, namespace=namespace)


def unmount(table: CcTable, inp: Received, msg: UnmountGuests) -> list[Effect]:
    """One, or all of the namespace; answered when the kernel has done its part."""
    ledger = ledger_of(table, inp.namespace, inp)
    chosen = set(ledger.mounts)
    if msg.target:
        guest = find(ledger, msg.target)
        named = guest.vm.uuid if guest is not None else ""
        where = msg.target.rstrip("/") or "/"
        chosen = {uuid for uuid, one in ledger.mounts.items() if uuid == named or where in (one.path, one.asked)}
        if not chosen:
            known = f"{guest.vm.name} is not mounted" if guest else f"nothing is mounted by this name: {where[:200]}"
            return [Fail(msg_id=inp.msg_id, code="not_found", message=known)]
    table.waiting[inp.msg_id] = Waiting(namespace=inp.namespace, unmounts=True)
    return close(ledger, chosen, inp.msg_id)


def close(ledger: Ledger, uuids: set[str], msg_id: str = "") -> list[Effect]:
    """Take mounts off the list and off the host."""
    effects: list[Effect] = []
    closed: list[tuple[tuple[str, str], str]] = []
    for uuid in sorted(uuids & set(ledger.mounts)):
        own, guest = ledger.mounts.pop(uuid), ledger.guests.get(uuid)
        if guest is not None and own.state is MountState.MOUNTED:  # what is just being mounted finds itself unwanted
            closed.append((guest.vm.key, own.source))
            effects.append(_gone(guest, own))
    if closed or msg_id:
        effects.insert(0, CloseMounts(mounts=tuple(closed), msg_id=msg_id))
    return effects


def unmounted(table: CcTable, inp: Unmounted) -> list[Effect]:
    """The kernel has let go of them, or something lies over one."""
    if table.waiting.pop(inp.msg_id, None) is None:
        return []
    if inp.error:
        return [Fail(msg_id=inp.msg_id, code="conflict", message=inp.error)]
    return [Reply(msg_id=inp.msg_id, body=Ack())]


def recovered(table: CcTable) -> list[Effect]:
    """No mount outlives the process that carried it: the shell has taken them off before this."""
    effects: list[Effect] = []
    for msg_id in [msg_id for msg_id, waiting in table.waiting.items() if waiting.mount or waiting.unmounts]:
        if table.waiting.pop(msg_id).mount:
            sentence = "the actor cc was restarted meanwhile: try again"
            effects.append(Fail(msg_id=msg_id, code="unavailable", message=sentence))
        else:
            effects.append(Reply(msg_id=msg_id, body=Ack()))
    for ledger in table.namespaces.values():
        for uuid, own in tuple(ledger.mounts.items()):
            guest = ledger.guests.get(uuid)
            if guest is None or own.state is MountState.MOUNTING:
                del ledger.mounts[uuid]
            elif own.state is MountState.MOUNTED:
                effects.append(_lose(guest, own, RESTARTED))
    return effects
