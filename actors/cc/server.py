"""What the parts of a session need of the actor around them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.cc.inputs import Keep
from actors.cc.sessions.sources import Sources
from actors.cc.table import CcTable
from bus.actor.step import Input
from bus.logs.logs import Log
from bus.messages.base import Event
from bus.port import Port
from shims.files.responses import Responses

if TYPE_CHECKING:
    from actors.cc.sessions.guest_pipes import Ends

WINDOW: Final = 256 * 1024
"""Bytes of one stream that may be under way unacknowledged."""


class Server(Protocol):
    """`actors.cc.actor.CcActor`."""

    port: Port
    log: Log
    responses: Responses
    sources: Sources
    pipe_ends: Ends

    @property
    def table(self) -> CcTable:
        """What is known."""
        ...

    def feed(self, inp: Input) -> None:
        """Something has happened."""
        ...

    def keep(self, note: Keep) -> None:
        """Note beside the output how a command ended."""
        ...

    def publish(self, topic: str, event: Event, *, namespace: str) -> None:
        """Tell the world."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run work beside the loop."""
        ...
