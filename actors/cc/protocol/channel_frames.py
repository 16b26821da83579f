"""The part of the agent's protocol about pipes, tunnels and tags (docs/agent-protocol.md)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from actors.cc.protocol.frame_base import AgentFrame, BothWays, Chunk, Count, Frame, Sentence, Word
from shims.agent.mounts.fuse import MAX_REQUEST

# ---------------------------------------------------------------- pipes


class OpenPipe(AgentFrame, frozen=True, kw_only=True, tag="pipe"):
    """An end of a pipe in the guest."""

    channel: Count
    pipe: Word
    writes: bool = False
    after: Count = 0


class PipeData(BothWays, frozen=True, kw_only=True, tag="pipe_data"):
    """A piece of a delivery."""

    channel: Count
    number: Count
    offset: Count = 0
    data: Chunk = b""
    more: bool = False


class PipeAck(BothWays, frozen=True, kw_only=True, tag="pipe_ack"):
    """Dealt with."""

    channel: Count
    number: Count


class PipeEnd(BothWays, frozen=True, kw_only=True, tag="pipe_end"):
    """Nothing more comes, or is wanted."""

    channel: Count
    error: Sentence = ""


# ---------------------------------------------------------------- tunnels


class Dial(Frame, frozen=True, kw_only=True, tag="dial"):
    """Connect inside the guest."""

    connection: int
    host: str
    port: int


class GuestDial(AgentFrame, frozen=True, kw_only=True, tag="dial"):
    """Somebody in the guest has connected to a tunnel."""

    connection: Count
    tunnel: Count


class Listen(Frame, frozen=True, kw_only=True, tag="listen"):
    """Take connections in the guest."""

    tunnel: int
    port: int


class Listening(AgentFrame, frozen=True, kw_only=True, tag="listening"):
    """It does, or why not."""

    tunnel: Count
    error: Sentence = ""


class Unlisten(Frame, frozen=True, kw_only=True, tag="unlisten"):
    """No more."""

    tunnel: int


class Dialed(BothWays, frozen=True, kw_only=True, tag="dialed"):
    """Connected, or why not."""

    connection: Count
    error: Sentence = ""


class Carry(BothWays, frozen=True, kw_only=True, tag="carry"):
    """Bytes of a connection."""

    connection: Count
    data: Chunk = b""


class Carried(BothWays, frozen=True, kw_only=True, tag="carried"):
    """So many have been given on."""

    connection: Count
    bytes: Count = 0


class Shut(BothWays, frozen=True, kw_only=True, tag="shut"):
    """No more from this side."""

    connection: Count


class HangUp(BothWays, frozen=True, kw_only=True, tag="hang_up"):
    """It is over."""

    connection: Count
    error: Sentence = ""


# ---------------------------------------------------------------- mounts


class BeginMount(Frame, frozen=True, kw_only=True, tag="mount"):
    """Serve the guest's file systems."""

    mount: int


class EndMount(Frame, frozen=True, kw_only=True, tag="unmount"):
    """Forget all about it."""

    mount: int


class Fuse(BothWays, frozen=True, kw_only=True, tag="fuse"):
    """A request of the kernel, or the reply to one."""

    mount: Count
    data: Annotated[bytes, Meta(max_length=MAX_REQUEST)]


# ---------------------------------------------------------------- tags


class Tag(AgentFrame, frozen=True, kw_only=True, tag="tag"):
    """Set a tag of the VM."""

    number: Count
    key: Annotated[str, Meta(max_length=1024)]
    value: Annotated[str, Meta(max_length=16384)]


class Tagged(Frame, frozen=True, kw_only=True, tag="tagged"):
    """It is set, or why not."""

    number: int
    error: str
