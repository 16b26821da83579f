"""Consoles of guests, asked of the actor that drives the guest: `container@host`.

The output of a console is a stream whose bytes are numbered from 0; its last 64 KiB can be asked for. So a viewer goes
on after any interruption without losing or repeating anything, as long as it is not further behind than that.
"""

from __future__ import annotations

from bus.messages.base import Ack, Message, Query, Request

FROM_SCROLL_BACK = -1
"""As `ReadConsole.after`: from the oldest line that is kept."""
FROM_NOW = -2
"""As `ReadConsole.after`: only what comes from now on."""
MAX_INPUT_BYTES = 4096
"""In one `TypeAtConsole`."""


class ConsoleOutput(Message, frozen=True, kw_only=True, omit_defaults=True, tag="console.output"):
    """What a console has said, possibly nothing within the time of the question."""

    stream: str
    """Name of the stream; another one begins when the guest is launched anew."""
    offset: int
    """Number of the first byte of `data`, which is larger than what was asked for if older bytes are gone."""
    data: bytes = b""
    ended: bool = False
    """The guest has ended and nothing will follow."""


class ReadConsole(Query[ConsoleOutput], frozen=True, kw_only=True, omit_defaults=True, tag="console.read"):
    """What a console says; answered as soon as there is something, or when the time of the question is over."""

    vm_id: int
    """Of a VM in the envelope's namespace, as in all requests about consoles."""
    stream: str = ""
    """The one that `after` counts in; if it is not the console's any more, it is answered from the scroll-back."""
    after: int = FROM_SCROLL_BACK
    """How many bytes of the stream the viewer has."""
    wait_s: float = 10.0


class ConsoleInput(Message, frozen=True, kw_only=True, omit_defaults=True, tag="console.input"):
    """How much of a viewer's input has been taken, counted from its first byte."""

    taken: int
    in_doubt: bool = False
    """Whether the repeated bytes had been typed is not known any more; they are not typed again."""


class TypeAtConsole(Request[ConsoleInput], frozen=True, kw_only=True, omit_defaults=True, tag="console.type"):
    """Type at a console. Less is taken while the guest does not read; what was taken already is not typed again."""

    vm_id: int
    viewer: str
    """Any name that is the viewer's alone."""
    position: int
    """How many bytes of this viewer come before `data`."""
    data: bytes
    repeated: bool = False
    """It is not known whether an earlier request with these bytes arrived."""


class ResizeConsole(Request[Ack], frozen=True, kw_only=True, tag="console.resize"):
    """Set the size of a console's window; the last one that was set counts for all who watch."""

    vm_id: int
    rows: int
    columns: int
