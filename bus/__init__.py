"""The message bus: messages, codec, broker, ports, the actor base, the node, the store. Knows no actor.

For programs that use it, `bus.connect` and `bus.connect_sync` are the client library; requests and events are in
`bus.messages`. Importing this package imports nothing else, so that one-shot commands start fast: what `__all__` names
is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from bus.errors import (
        BusError,
        CancelledError,
        ClosedError,
        CommandFailed,
        ConflictError,
        DeadlineError,
        DeniedError,
        InternalError,
        InvalidError,
        MalformedError,
        NotFoundError,
        OutcomeUnknownError,
        OverloadedError,
        RemoteError,
        UnavailableError,
        UnknownTypeError,
        UnreachableError,
    )
    from bus.library.api import Client, connect
    from bus.library.blocking import BlockingClient, connect_sync
    from bus.library.events import Events, Lost, Received, Unknown
    from bus.library.lines import Output
    from bus.library.pipes import PipeReader, PipeWriter

__all__ = [
    "BlockingClient",
    "BusError",
    "CancelledError",
    "Client",
    "ClosedError",
    "CommandFailed",
    "ConflictError",
    "DeadlineError",
    "DeniedError",
    "Events",
    "InternalError",
    "InvalidError",
    "Lost",
    "MalformedError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Output",
    "OverloadedError",
    "PipeReader",
    "PipeWriter",
    "Received",
    "RemoteError",
    "UnavailableError",
    "Unknown",
    "UnknownTypeError",
    "UnreachableError",
    "connect",
    "connect_sync",
]

_HOMES = {
    "bus.library.api": ("Client", "connect"),
    "bus.library.blocking": ("BlockingClient", "connect_sync"),
    "bus.library.events": ("Events", "Lost", "Received", "Unknown"),
    "bus.library.lines": ("Output",),
    "bus.library.pipes": ("PipeReader", "PipeWriter"),
}
"""Where the names are made; the rest are errors."""


if not TYPE_CHECKING:  # so that type checkers see a name that there is not

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'bus' has no attribute {name!r}")
        from importlib import import_module

        home = next((module for module, names in _HOMES.items() if name in names), "bus.errors")
        value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
