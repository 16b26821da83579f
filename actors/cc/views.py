"""What the table looks like from outside: answers to questions. Pure."""

from __future__ import annotations

from collections import Counter

from actors.cc.decisions import matching
from actors.cc.decisions.reports import outcome
from actors.cc.table import Command, Ledger, Progress
from bus.errors import NotFoundError
from bus.messages.base import WILDCARD
from bus.messages.cc import CommandInfo, CommandKind, CommandList, CommandState, Outcomes


def command_list(ledger: Ledger | None, number: int) -> CommandList:
    """The list, or one of it; raises NotFoundError."""
    if ledger is None or not number:
        listed = sorted(ledger.listed(), key=lambda command: command.id) if ledger else []
        return CommandList(commands=tuple(command_info(ledger, command) for command in listed if ledger))
    command = ledger.by_id(number)
    if command is None:
        raise NotFoundError(f"command {number} not found")
    return CommandList(commands=(command_info(ledger, command),))


def command_info(ledger: Ledger, command: Command) -> CommandInfo:
    """One command."""
    states = Counter(progress.state.value for progress in command.guests.values())
    states[CommandState.WAITING.value] += len(matching.meant(ledger, command))
    return CommandInfo(
        id=command.id,
        prefix=command.prefix,
        command=command.spec,
        filter=command.filter,
        responses=sum(has_answered(command, progress) for progress in command.guests.values()),
        states={state: count for state, count in sorted(states.items()) if count},
        posted_s=command.posted_s,
    )


def has_answered(command: Command, progress: Progress) -> bool:
    """A program in the background has answered when it has begun."""
    return progress.final or (command.spec.background and progress.state is CommandState.RUNNING)


def outcomes(ledger: Ledger | None, number: int, returning: frozenset[str] = frozenset()) -> Outcomes:
    """A row for each guest; `returning` are those whose line broke a moment ago. Raises NotFoundError."""
    command = ledger.by_id(number) if ledger else None
    if ledger is None or command is None:
        raise NotFoundError(f"command {number} not found")
    meant = matching.meant(ledger, command)
    rows = [outcome(guest, None) for guest in meant]
    unanswered = list(meant)
    for uuid, progress in command.guests.items():
        guest = ledger.guests.get(uuid)
        if guest is not None:
            rows.append(outcome(guest, progress))
            if not has_answered(command, progress):
                unanswered.append(guest)
    rows.sort(key=lambda row: (row.vm, row.uuid))
    away = [guest for guest in unanswered if not guest.connected and not (guest.vm.live and guest.vm.uuid in returning)]
    absent = sum(guest.vm.live and not guest.flushed for guest in away)
    return Outcomes(id=number, outcomes=tuple(rows), done=len(away) == len(unanswered), absent=absent)


def response_ids(ledger: Ledger | None, target: str) -> tuple[int, ...] | None:
    """Which responses a target means, None for all; raises NotFoundError."""
    if target == WILDCARD:
        return None
    if target.isascii() and target.isdecimal() and len(target) < 16:
        return (int(target),)
    listed = ledger.listed() if ledger and target else ()
    found = tuple(command.id for command in listed if command.prefix == target)
    if not found:
        raise NotFoundError(f"no such prefix: `{target[:200]}`")
    return found


def fetched_ids(ledger: Ledger | None) -> frozenset[int]:
    """Which responses are files of guests, and not what a program wrote."""
    listed = ledger.listed() if ledger else ()
    return frozenset(command.id for command in listed if command.spec.kind is CommandKind.RECEIVE)
