"""Watching and using the console of a guest: the client's side of `bus.messages.console`.

It asks again by itself when the actor or the broker was restarted meanwhile: output goes on where it was, and nothing
is typed twice.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from bus.errors import BusError, NotFoundError, OutcomeUnknownError
from bus.messages.base import Message, Request
from bus.messages.console import (
    FROM_NOW,
    FROM_SCROLL_BACK,
    MAX_INPUT_BYTES,
    ReadConsole,
    ResizeConsole,
    TypeAtConsole,
)

READ_S = 10.0
"""How long one question for output waits until there is some."""
ANSWER_S = 10.0
PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 0.5
FULL_S = 0.05
"""Before more is typed to a guest that does not read."""

R = TypeVar("R", bound=Message)


class Asker(Protocol):
    """What is needed of the bus: `bus.port.Port`."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...


class Output(NamedTuple):
    """What a console has said since the last one."""

    data: bytes
    skipped: int = 0
    """Bytes before these that nobody has any more."""


class ConsoleViewer:
    """One viewer of one console."""

    def __init__(self, bus: Asker, address: str, vm_id: int, *, namespace: str, from_now: bool = False) -> None:
        """`address` is the actor that drives the guest, which is in `namespace`.

        The scroll-back comes first, unless `from_now`.
        """
        self.in_doubt = False
        """Whether it is not known of the last bytes typed that they have arrived; set anew by each `type`."""
        self._bus = bus
        self._address = address
        self._vm_id = vm_id
        self._namespace = namespace
        self._name = secrets.token_hex(8)
        self._stream = ""
        self._after = FROM_NOW if from_now else FROM_SCROLL_BACK
        self._typed = 0
        self._ended = False

    async def read(self) -> Output | None:
        """What comes next, perhaps nothing after a while; None once the guest has ended. Raises BusError."""
        if self._ended:
            return None
        asked = ReadConsole(vm_id=self._vm_id, stream=self._stream, after=self._after, wait_s=READ_S)
        try:
            reply = await self._ask(lambda repeated: asked, READ_S + ANSWER_S)
        except NotFoundError:
            if not self._stream:
                raise
            self._ended = True  # and it is forgotten already
            return None
        skipped = reply.offset - self._after if reply.stream == self._stream else 0
        self._stream, self._ended = reply.stream, reply.ended
        self._after = reply.offset + len(reply.data)
        return Output(reply.data, skipped)

    async def type(self, data: bytes) -> None:
        """Type all of it, waiting while the guest does not read; raises BusError."""
        self.in_doubt = False
        while data:
            piece = data[:MAX_INPUT_BYTES]
            reply = await self._ask(functools.partial(self._typing, piece), ANSWER_S)
            taken = reply.taken - self._typed
            self.in_doubt |= reply.in_doubt
            self._typed = reply.taken
            data = data[taken:]
            if taken < len(piece):
                await asyncio.sleep(FULL_S)

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the window; raises BusError."""
        asked = ResizeConsole(vm_id=self._vm_id, rows=rows, columns=columns)
        await self._ask(lambda repeated: asked, ANSWER_S)

    def _typing(self, piece: bytes, repeated: bool) -> TypeAtConsole:
        return TypeAtConsole(vm_id=self._vm_id, viewer=self._name, position=self._typed, data=piece, repeated=repeated)

    async def _ask(self, make: Callable[[bool], Request[R]], timeout_s: float) -> R:
        """Ask until there is an answer. `make` is told whether an earlier request may have arrived."""
        repeated = False
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return await self._bus.ask(
                    self._address, make(repeated), timeout_s=timeout_s, namespace=self._namespace
                )
            except BusError as error:
                if not error.retryable and not isinstance(error, OutcomeUnknownError):
                    raise
                repeated = repeated or isinstance(error, OutcomeUnknownError)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
