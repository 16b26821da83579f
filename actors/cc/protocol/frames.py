"""The agent's protocol as classes (docs/agent-protocol.md): what agents send is checked here, byte for byte.

`decode` is all that ever looks at bytes of a guest; what it lets through has the right types and bounded lengths.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Union

import msgspec
from msgspec import Meta

from actors.cc.protocol.channel_frames import BeginMount as BeginMount
from actors.cc.protocol.channel_frames import Carried as Carried
from actors.cc.protocol.channel_frames import Carry as Carry
from actors.cc.protocol.channel_frames import Dial as Dial
from actors.cc.protocol.channel_frames import Dialed as Dialed
from actors.cc.protocol.channel_frames import EndMount as EndMount
from actors.cc.protocol.channel_frames import Fuse as Fuse
from actors.cc.protocol.channel_frames import GuestDial as GuestDial
from actors.cc.protocol.channel_frames import HangUp as HangUp
from actors.cc.protocol.channel_frames import Listen as Listen
from actors.cc.protocol.channel_frames import Listening as Listening
from actors.cc.protocol.channel_frames import OpenPipe as OpenPipe
from actors.cc.protocol.channel_frames import PipeAck as PipeAck
from actors.cc.protocol.channel_frames import PipeData as PipeData
from actors.cc.protocol.channel_frames import PipeEnd as PipeEnd
from actors.cc.protocol.channel_frames import Shut as Shut
from actors.cc.protocol.channel_frames import Tag as Tag
from actors.cc.protocol.channel_frames import Tagged as Tagged
from actors.cc.protocol.channel_frames import Unlisten as Unlisten
from actors.cc.protocol.frame_base import MAX_TEXT, Addresses, Chunk, Count, Sentence, Text, Word
from actors.cc.protocol.frame_base import AgentFrame as AgentFrame
from actors.cc.protocol.frame_base import BothWays as BothWays
from actors.cc.protocol.frame_base import Frame as Frame
from actors.cc.protocol.frame_base import shown as shown
from actors.cc.protocol.frame_base import text as text
from shims.agent.line import wire

VERSION: Final = 1


class Ended(StrEnum):
    """How a command came to its end."""

    EXITED = "exited"
    SIGNALED = "signaled"
    FAILED = "failed"
    TIMEOUT = "timeout"
    KILLED = "killed"
    UNKNOWN = "unknown"


class RecordState(StrEnum):
    """How far an agent has come with a command."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


# ---------------------------------------------------------------- sessions


class Hello(AgentFrame, frozen=True, kw_only=True, tag="hello"):
    """Who is there."""

    versions: Annotated[tuple[int, ...], Meta(max_length=64)]
    session: int = 0
    uuid: Word = ""
    boot: Word = ""
    agent: Word = ""
    hostname: Word = ""
    arch: Word = ""
    os: Word = ""
    release: Word = ""
    ips: Addresses = ()
    macs: Addresses = ()
    ledger: Word = ""
    durable: bool = True
    features: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    """Go on."""

    version: int = VERSION
    session: int
    server: str
    ledger: str
    keepalive_s: float
    window: int


class Refuse(Frame, frozen=True, kw_only=True, tag="refuse"):
    """Not you, or not now."""

    session: int
    reason: str
    retry_s: float


class Synced(AgentFrame, frozen=True, kw_only=True, tag="synced"):
    """All records are sent."""


class Ping(BothWays, frozen=True, kw_only=True, tag="ping"):
    """Are you there?"""

    n: int = 0


class Pong(BothWays, frozen=True, kw_only=True, tag="pong"):
    """I am."""

    n: int = 0


class Facts(AgentFrame, frozen=True, kw_only=True, tag="facts"):
    """What has changed in the guest."""

    hostname: Word = ""
    ips: Addresses = ()
    macs: Addresses = ()


# ---------------------------------------------------------------- commands


class Run(Frame, frozen=True, kw_only=True, tag="run"):
    """Run a program."""

    serial: int
    argv: tuple[Text, ...]
    background: bool
    timeout_s: float
    stdin: str
    stdout: str
    stderr: str


class Signal(Frame, frozen=True, kw_only=True, tag="signal"):
    """End a command, or take it back."""

    serial: int
    signal: int


class Kill(Frame, frozen=True, kw_only=True, tag="kill"):
    """End background processes by pid."""

    serial: int
    pid: int


class KillAll(Frame, frozen=True, kw_only=True, tag="killall"):
    """End background processes by name."""

    serial: int
    name: str


class Level(Frame, frozen=True, kw_only=True, tag="level"):
    """Set the level of the agent's log."""

    serial: int
    level: str


class Probe(Frame, frozen=True, kw_only=True, tag="probe"):
    """Try to reach something."""

    serial: int
    protocol: str
    host: str
    port: int
    wait_s: float
    packet: bytes


class PutFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file for the guest."""

    name: Text
    size: int
    mode: int
    sha256: str


class Put(Frame, frozen=True, kw_only=True, tag="put"):
    """Take files."""

    serial: int
    first: int
    files: tuple[PutFile, ...]
    more: bool


class Get(Frame, frozen=True, kw_only=True, tag="get"):
    """Give files."""

    serial: int
    patterns: tuple[Text, ...]


class Confirm(Frame, frozen=True, kw_only=True, tag="confirm"):
    """The end is known and kept."""

    serial: int


class Started(AgentFrame, frozen=True, kw_only=True, tag="started"):
    """A program runs."""

    serial: Count
    pid: Count = 0
    time_s: float = 0.0


class Done(AgentFrame, frozen=True, kw_only=True, tag="done"):
    """A command has come to its end."""

    serial: Count
    outcome: Ended
    code: Annotated[int, Meta(ge=-(2**31), le=2**32)] = 0
    error: Sentence = ""
    time_s: float = 0.0
    stdout: Count = 0
    stderr: Count = 0


class Record(AgentFrame, frozen=True, kw_only=True, tag="record"):
    """What the agent knows of a command."""

    serial: Count
    state: RecordState
    pid: Count = 0
    outcome: Ended = Ended.UNKNOWN
    code: Annotated[int, Meta(ge=-(2**31), le=2**32)] = 0
    error: Sentence = ""
    time_s: float = 0.0
    stdout: Count = 0
    stderr: Count = 0


class Process(AgentFrame, frozen=True, kw_only=True, tag="process"):
    """A background process begins or ends."""

    pid: Count
    argv: tuple[Any, ...] = ()
    """Of `Text`."""
    serial: Count = 0
    gone: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(word, str | bytes) for word in self.argv):
            raise ValueError("argv is not a list of words")


# ---------------------------------------------------------------- streams


class Data(BothWays, frozen=True, kw_only=True, tag="data"):
    """Bytes of a stream."""

    serial: Count
    stream: Word
    offset: Count
    data: Chunk = b""
    eof: bool = False


class Acked(BothWays, frozen=True, kw_only=True, tag="ack"):
    """Everything before the offset is written."""

    serial: Count
    stream: Word
    offset: Count


class Want(BothWays, frozen=True, kw_only=True, tag="want"):
    """Go on from here."""

    serial: Count
    stream: Word
    offset: Count


class File(AgentFrame, frozen=True, kw_only=True, tag="file"):
    """A file that the guest sends, or why it cannot be sent."""

    serial: Count
    index: Count
    name: Any = ""
    """A `Text`."""
    size: Count = 0
    mode: Count = 0o644
    error: Sentence = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str | bytes) or len(self.name) > MAX_TEXT:
            raise ValueError("name is not the name of a file")


class Digest(AgentFrame, frozen=True, kw_only=True, tag="digest"):
    """Of the file as it was sent."""

    serial: Count
    index: Count
    sha256: Annotated[str, Meta(max_length=64)]


class StreamFailed(BothWays, frozen=True, kw_only=True, tag="failed"):
    """A stream ends here."""

    serial: Count
    stream: Word
    error: Sentence = ""


# ---------------------------------------------------------------- bytes


def _leaves(klass: type[Frame]) -> list[type[Frame]]:
    return [leaf for child in klass.__subclasses__() for leaf in _leaves(child)] or [klass]


_encoder = msgspec.msgpack.Encoder()
# A union built at run time: type checkers cannot know it, every use goes through `decode`.
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[tuple(_leaves(AgentFrame))])  # noqa: UP007


def decode(body: bytes) -> AgentFrame | None:
    """What an agent said; None for a type that this version does not know. Raises `wire.WireError`."""
    try:
        frame: AgentFrame = _decoder.decode(body)
    except msgspec.ValidationError as error:
        if "Invalid value" in str(error) and "$.type" in str(error):
            return None
        raise wire.WireError(str(error)) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text that is not UTF-8
        raise wire.WireError(f"not msgpack: {error}") from None
    return frame


def encode(frame: Frame) -> bytes:
    """A message for an agent as it travels; raises ValueError if it is longer than agents take."""
    return wire.framed(_encoder.encode(frame))
