"""What agents report: who they are, how far they are with commands. Pure."""

from __future__ import annotations

from actors.cc.decisions import matching
from actors.cc.inputs import (
    Began,
    FactsChanged,
    FileArrived,
    Finished,
    Handed,
    Joined,
    Keep,
    Left,
    Offer,
    OpenTunnels,
    Remove,
    Synced,
    Tell,
    Wake,
)
from actors.cc.protocol.frames import Confirm, Signal
from actors.cc.table import CcTable, Command, Facts, Guest, Key, Ledger, Progress
from bus.actor.step import Effect, Publish
from bus.messages.cc import AgentConnected, AgentGone, CommandDone, CommandKind, CommandStarted, CommandState, Outcome
from bus.topics import cc_topic

TRANSFERS = (CommandKind.SEND, CommandKind.RECEIVE)
"""Kinds that may be begun twice: they come to the same in the end."""
MAX_ADDRESSES = 256
"""Of one guest that are kept."""
REBOOTED = "the guest was restarted while it ran"
FORGOTTEN = "the agent was restarted while it ran, and knows nothing of it"
DOUBTFUL = "the agent was restarted and keeps no records on a disk: it may or may not have run"


def joined(table: CcTable, inp: Joined) -> list[Effect]:
    """An agent has said who it is; after another boot the commands that are listed are to be done again."""
    ledger, guest = _of(table, inp.key)
    if guest is None or ledger is None:
        return []
    effects: list[Effect] = []
    if inp.boot != guest.boot:
        effects += _rebooted(ledger, guest, inp)
    guest.boot, guest.agent = inp.boot, inp.agent
    guest.facts = _tidy(inp.facts)
    return effects


def _rebooted(ledger: Ledger, guest: Guest, inp: Joined) -> list[Effect]:
    namespace, uuid = inp.key
    effects: list[Effect] = []
    again: list[int] = []
    for command in ledger.commands.values():
        progress = command.guests.get(uuid)
        if progress is None or progress.boot == inp.boot:
            continue
        if command.listed and not command.spec.once and not command.cancelled:
            del command.guests[uuid]
            again.append(command.id)
        elif not progress.final:
            effects += _end(ledger, guest, command, progress, CommandState.UNKNOWN, REBOOTED, inp.time_s)
    if again:
        effects.insert(0, Remove(namespace=namespace, ids=tuple(again), uuid=uuid))
    return effects


def facts_changed(table: CcTable, inp: FactsChanged) -> list[Effect]:
    """Commands may be for this guest now that were not before."""
    _, guest = _of(table, inp.key)
    if guest is None:
        return []
    old = guest.facts
    guest.facts = _tidy(
        Facts(hostname=inp.hostname, arch=old.arch, os=old.os, release=old.release, ips=inp.ips, macs=inp.macs)
    )
    return [Offer(namespace=inp.key[0], uuid=inp.key[1])]


def _tidy(facts: Facts) -> Facts:
    hostname, ips, macs = as_kept(facts.hostname, facts.ips, facts.macs)
    return Facts(hostname=hostname, arch=facts.arch, os=facts.os, release=facts.release, ips=ips, macs=macs)


def as_kept(hostname: str, ips: tuple[str, ...], macs: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What is kept of what a guest says of itself."""
    return hostname, ips[:MAX_ADDRESSES], tuple(mac.lower() for mac in macs[:MAX_ADDRESSES])


def synced(table: CcTable, inp: Synced) -> list[Effect]:
    """What an agent should know of and does not has an outcome that nobody knows; transfers go on."""
    ledger, guest = _of(table, inp.key)
    if guest is None or ledger is None:
        return []
    namespace, uuid = inp.key
    effects: list[Effect] = []
    known = set(inp.serials)
    for command in ledger.commands.values():
        progress = command.guests.get(uuid)
        if progress is None or progress.final or command.serial in known:
            continue
        if command.spec.kind in TRANSFERS and matching.means(command, guest):
            del command.guests[uuid]  # it is offered again: what has arrived is found out, and the rest follows
        elif progress.state is CommandState.RUNNING:
            effects += _end(ledger, guest, command, progress, CommandState.UNKNOWN, FORGOTTEN, inp.time_s)
        elif progress.agent != guest.agent:
            effects += _end(ledger, guest, command, progress, CommandState.UNKNOWN, DOUBTFUL, inp.time_s)
    guest.connected = True
    event = AgentConnected(uuid=uuid, vm=guest.vm.name)
    effects.append(Publish(topic=cc_topic(namespace, uuid, "connected"), event=event, namespace=namespace))
    effects.append(Offer(namespace=namespace, uuid=uuid, first=True))
    reverse = [tunnel for tunnel in ledger.tunnels.get(uuid, {}).values() if tunnel.reverse]
    if reverse:
        effects.append(OpenTunnels(tunnels=tuple((inp.key, tunnel) for tunnel in reverse)))
    return effects


def line_lost(table: CcTable, inp: Left) -> list[Effect]:
    """A line is closed; all that is known stays."""
    ledger, guest = _of(table, inp.key)
    if guest is None or ledger is None:
        return []
    return [*left(guest, inp.reason), Wake(namespace=inp.key[0])]


def left(guest: Guest, reason: str) -> list[Effect]:
    """Tell that an agent is not there any more, if it was."""
    if not guest.connected:
        return []
    guest.connected = False
    namespace, uuid = guest.vm.key
    event = AgentGone(uuid=uuid, vm=guest.vm.name, reason=reason)
    return [Publish(topic=cc_topic(namespace, uuid, "gone"), event=event, namespace=namespace)]


def handed(table: CcTable, inp: Handed) -> list[Effect]:
    """An agent without a disk is about to get a command."""
    ledger, guest = _of(table, inp.key)
    command = ledger.commands.get(inp.serial) if ledger else None
    if command is not None and guest is not None and guest.vm.uuid not in command.guests:
        progress = Progress(state=CommandState.WAITING, boot=guest.boot, agent=guest.agent)
        command.guests[guest.vm.uuid] = progress
    return []


def began(table: CcTable, inp: Began) -> list[Effect]:
    """A program runs."""
    ledger, guest = _of(table, inp.key)
    command = ledger.commands.get(inp.serial) if ledger else None
    if guest is None or command is None:
        return []
    namespace, uuid = inp.key
    progress = command.guests.get(uuid)
    if progress is not None and (progress.state is CommandState.RUNNING or _is_over(progress, guest)):
        return []
    taken_back = progress is not None and progress.state is CommandState.KILLED
    command.guests[uuid] = Progress(
        state=CommandState.RUNNING, boot=guest.boot, pid=inp.pid, started_s=inp.guest_s or inp.time_s
    )
    event = CommandStarted(id=command.id, pid=inp.pid)
    topic = cc_topic(namespace, uuid, str(command.id), "started")
    effects: list[Effect] = [Publish(topic=topic, event=event, namespace=namespace)]
    if taken_back:
        effects.append(Tell(key=inp.key, frame=Signal(serial=command.serial, signal=15)))
    return [*effects, Wake(namespace=namespace, id=command.id)]


def finished(table: CcTable, inp: Finished) -> list[Effect]:
    """A command has come to its end; the agent may forget it, also if it is said for the second time."""
    ledger, guest = _of(table, inp.key)
    command = ledger.commands.get(inp.serial) if ledger else None
    confirm = Tell(key=inp.key, frame=Confirm(serial=inp.serial))
    if guest is None or command is None or ledger is None:
        return [confirm]
    progress = command.guests.get(inp.key[1])
    if progress is not None and _is_over(progress, guest):
        return [confirm]
    if progress is None or progress.final:
        progress = command.guests[inp.key[1]] = Progress(state=CommandState.RUNNING, boot=guest.boot)
    progress.code, progress.stdout, progress.stderr = inp.code, inp.stdout, inp.stderr
    if command.spec.kind is CommandKind.SEND and inp.state is CommandState.EXITED:
        progress.files, progress.moved = len(command.spec.files), inp.moved
    ended_s = inp.guest_s or inp.time_s
    effects = _end(ledger, guest, command, progress, inp.state, inp.error, ended_s)
    return [confirm, *(effect for effect in effects if not isinstance(effect, Keep))]  # that was done before


def is_news(table: CcTable, inp: Began | Finished) -> bool:
    """Whether a report changes anything: what an agent repeats need not be written down."""
    ledger, guest = _of(table, inp.key)
    command = ledger.commands.get(inp.serial) if ledger else None
    if command is None or guest is None:
        return False
    progress = command.guests.get(inp.key[1])
    if progress is None:
        return True
    running = progress.state is CommandState.RUNNING
    return not (_is_over(progress, guest) or (running and isinstance(inp, Began)))


def _is_over(progress: Progress, guest: Guest) -> bool:
    """Whether a later report changes nothing: what was only presumed gives way to what the agent knows."""
    presumed = progress.state in (CommandState.UNKNOWN, CommandState.KILLED)
    return progress.final and progress.boot == guest.boot and not presumed


def file_arrived(table: CcTable, inp: FileArrived) -> list[Effect]:
    """One more."""
    ledger, guest = _of(table, inp.key)
    command = ledger.commands.get(inp.serial) if ledger else None
    if guest is None or command is None:
        return []
    progress = command.guests.setdefault(
        inp.key[1], Progress(state=CommandState.RUNNING, boot=guest.boot, started_s=inp.time_s)
    )
    if inp.index not in progress.arrived:
        progress.arrived.add(inp.index)
        progress.files += 1
        progress.moved += inp.size
    return []


def interrupt(ledger: Ledger, guest: Guest, why: str, time_s: float) -> list[Effect]:
    """All that runs in a guest has an outcome that nobody knows."""
    effects: list[Effect] = []
    for command in tuple(ledger.commands.values()):
        progress = command.guests.get(guest.vm.uuid)
        if progress is not None and not progress.final:
            effects += _end(ledger, guest, command, progress, CommandState.UNKNOWN, why, time_s)
    return [*effects, Wake(namespace=guest.vm.namespace)]


def _end(
    ledger: Ledger,
    guest: Guest,
    command: Command,
    progress: Progress,
    state: CommandState,
    error: str,
    ended_s: float,
) -> list[Effect]:
    namespace, uuid = guest.vm.key
    progress.state, progress.error, progress.ended_s, progress.agent = state, error, ended_s, ""
    progress.dropped, progress.arrived = {}, set()
    done = CommandDone(id=command.id, outcome=outcome(guest, progress))
    effects: list[Effect] = [
        Publish(topic=cc_topic(namespace, uuid, str(command.id), "done"), event=done, namespace=namespace),
        Wake(namespace=namespace, id=command.id),
    ]
    if not command.quiet:
        effects.insert(0, kept(command, guest.vm.key, state, progress.code, error, progress.stderr))
    if not command.listed:
        del command.guests[uuid]
        ledger.forget_stranger(uuid)
    return effects


def kept(command: Command, key: Key, state: CommandState, code: int, error: str, stderr: int) -> Keep:
    """What is noted beside the output: an exit code as later versions of minimega have it, and why nothing ran."""
    program = command.spec.kind is CommandKind.EXEC
    exit_code: int | None = None
    if program and not command.spec.background:
        exit_code = {CommandState.EXITED: code, CommandState.SIGNALED: 128 + code}.get(state, -1)
    told = error if program and state is CommandState.FAILED and not stderr else ""
    return Keep(namespace=key[0], id=command.id, uuid=key[1], exit_code=exit_code, error=told)


def outcome(guest: Guest, progress: Progress | None) -> Outcome:
    """A row for users."""
    if progress is None:
        return Outcome(uuid=guest.vm.uuid, vm=guest.vm.name, state=CommandState.WAITING)
    return Outcome(
        uuid=guest.vm.uuid,
        vm=guest.vm.name,
        state=progress.state,
        code=progress.code,
        error=progress.error,
        pid=progress.pid,
        started_s=progress.started_s,
        ended_s=progress.ended_s,
        stdout=progress.stdout,
        stderr=progress.stderr,
        files=progress.files,
        moved=progress.moved,
    )


def _of(table: CcTable, key: Key) -> tuple[Ledger | None, Guest | None]:
    ledger = table.namespaces.get(key[0])
    return ledger, ledger.guests.get(key[1]) if ledger else None
