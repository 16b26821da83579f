"""What goes on in sessions just now, added to what the table knows: output and files that are on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from actors.cc.sessions.session import Session
from actors.cc.table import Ledger
from bus.messages.cc import CommandInfo, CommandList, CommandState, Outcome, Outcomes
from shims.files.responses import OUTPUTS

WAITING, RUNNING = CommandState.WAITING, CommandState.RUNNING


def outcomes(ledger: Ledger, found: Outcomes, sessions: Iterable[Session]) -> Outcomes:
    """Of what still runs, how much has come; a transfer runs once its first bytes are on their way."""
    serial = ledger.ids[found.id]
    by_uuid = {session.key[1]: session for session in sessions}
    rows = [_outcome(row, serial, by_uuid.get(row.uuid)) for row in found.outcomes]
    return msgspec.structs.replace(found, outcomes=tuple(rows))


def _outcome(row: Outcome, serial: int, session: Session | None) -> Outcome:
    if session is None or row.state not in (WAITING, RUNNING):
        return row
    if (sent := session.dispatch.moved(serial)) is not None:
        return msgspec.structs.replace(row, state=RUNNING, files=sent.files, moved=sent.size)
    if (growing := session.intake.growing(serial)) is not None:
        return msgspec.structs.replace(row, state=RUNNING, moved=row.moved + growing)
    if row.state is RUNNING:
        stdout, stderr = (session.intake.position(serial, stream) for stream in OUTPUTS)
        return msgspec.structs.replace(row, stdout=stdout, stderr=stderr)
    return row


def command_list(ledger: Ledger | None, listed: CommandList, sessions: Iterable[Session]) -> CommandList:
    """Transfers that are on their way count as running."""
    moving: Counter[int] = Counter()
    for session in sessions:
        for serial in session.dispatch.moving | session.intake.moving:
            command = session.command(serial)
            if command is not None and session.key[1] not in command.guests:
                moving[command.id] += 1
    if not moving or ledger is None:
        return listed
    return CommandList(commands=tuple(_command(info, moving[info.id]) for info in listed.commands))


def _command(info: CommandInfo, moving: int) -> CommandInfo:
    if not moving:
        return info
    states = Counter(info.states)
    states[WAITING.value] -= moving
    states[RUNNING.value] += moving
    shown = {state: count for state, count in sorted(states.items()) if count > 0}
    return msgspec.structs.replace(info, states=shown)
