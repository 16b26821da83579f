"""Where the output of a program stands whose responses are removed while its guest is not connected."""

from __future__ import annotations

from collections.abc import Iterable

from actors.cc.inputs import Remove
from actors.cc.table import CcTable
from bus.messages.cc import CommandState
from shims.files.responses import OUTPUTS, Responses

Position = tuple[str, str, int, str, int]
"""Namespace, UUID, serial, stream, bytes so far."""


def absent(table: CcTable, responses: Responses, effect: Remove, known: Iterable[Position]) -> list[Position]:
    """The positions of streams that no session knows: they are the sizes of files that are about to go.

    Raises OSError.
    """
    ledger = table.namespaces.get(effect.namespace)
    seen = {position[:4] for position in known}
    found: list[Position] = []
    for command in ledger.commands.values() if ledger else ():
        if command.quiet or (effect.ids is not None and command.id not in effect.ids):
            continue
        for uuid, progress in command.guests.items():
            if progress.state is not CommandState.RUNNING or effect.uuid not in ("", uuid):
                continue
            for stream in OUTPUTS:
                size = responses.size((effect.namespace, command.id, uuid, stream))
                if size and (effect.namespace, uuid, command.serial, stream) not in seen:
                    position = progress.dropped.get(stream, 0) + size
                    found.append((effect.namespace, uuid, command.serial, stream, position))
    return found
