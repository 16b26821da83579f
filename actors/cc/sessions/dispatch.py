"""What a guest is given to do: commands in their order, and the files that belong to them."""

from __future__ import annotations

import asyncio
from bisect import insort
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.cc.decisions import matching
from actors.cc.inputs import Finished, Handed
from actors.cc.protocol import frames
from actors.cc.sessions.sources import Batch, ChangedError, Source
from actors.cc.table import UNHURRIED, Command
from bus.errors import BusError
from bus.messages.cc import CommandKind, CommandState
from shims.agent.line.wire import WireError

if TYPE_CHECKING:
    from actors.cc.sessions.session import Session

AHEAD: Final = 64
"""Commands that take turns and that a guest has been given, at most."""
DELETED: Final = "the command is deleted"
MAX_SENDING: Final = 16
"""Files that one guest asks for at once; an agent has four."""


class Moved(NamedTuple):
    """How far a transfer is."""

    files: int
    size: int
    """Bytes."""


class Sending:
    """A file on its way to a guest."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.offset = 0
        self.acked = 0
        self.ended = False


class Dispatch:
    """See the module. One of each session."""

    def __init__(self, session: Session, window: int) -> None:
        self._session = session
        self._server = session.server
        self._window = window
        self._turns: list[int] = []
        """Serials of commands that take turns and were not handed over yet, in order."""
        self._open: set[int] = set()
        """Of those that were and have not ended."""
        self._files: dict[int, tuple[Source, ...]] = {}
        self._reached: dict[int, int] = {}
        """By serial: the last file that the guest has asked for; it asks for them in order."""
        self._early: dict[int, dict[int, frames.Want]] = {}
        """What an agent wants while the digests are taken again, after a reconnect."""
        self._sending: dict[tuple[int, int], Sending] = {}
        self._preparing = False
        self._moved = asyncio.Event()
        """The guest has read, or the session is over."""
        self.closed = False

    # --- commands

    def offer(self, serial: int) -> None:
        """A command may be for this guest."""
        command = self._session.command(serial)
        if command is None or not self._is_due(command):
            return
        if command.spec.kind in UNHURRIED:
            if serial not in self._turns:
                insort(self._turns, serial)
        else:
            self._hand(command)
        self.pump()

    def take_over(self, serial: int, *, is_open: bool) -> None:
        """The agent has it from an earlier session."""
        self._session.handed.add(serial)
        command = self._session.command(serial)
        if is_open and command is not None and command.spec.kind in UNHURRIED:
            self._open.add(serial)

    def begun(self, serial: int) -> None:
        """A program runs; if it does so in the background, the next one has its turn."""
        command = self._session.command(serial)
        if command is None or command.spec.background:
            self._open.discard(serial)
            self.pump()

    def ended(self, serial: int) -> None:
        """It has come to its end."""
        self._open.discard(serial)
        self._files.pop(serial, None)
        self._early.pop(serial, None)
        self._reached.pop(serial, None)
        for key in [key for key in self._sending if key[0] == serial]:
            del self._sending[key]
        self.pump()

    def _is_due(self, command: Command) -> bool:
        return command.serial not in self._session.handed and self._is_wanted(command)

    def _is_wanted(self, command: Command) -> bool:
        """Whether the guest is to do it, has not begun, and nobody has taken it back."""
        guest = self._session.guest()
        if guest is None or not matching.means(command, guest):
            return False
        progress = command.guests.get(guest.vm.uuid)
        return progress is None or (progress.state is CommandState.WAITING and progress.agent == guest.agent)

    def close(self) -> None:
        """The session is over."""
        self.closed = True
        self._moved.set()

    def pump(self) -> None:
        """Hand over and send what there is room for."""
        self._moved.set()
        while self._turns and not self._preparing and self._session.has_room and len(self._open) < AHEAD:
            command = self._session.command(self._turns.pop(0))
            if command is None or not self._is_due(command):
                continue
            self._open.add(command.serial)
            if command.spec.kind is CommandKind.SEND:
                self._preparing = True  # what comes later must not overtake it
                self._session.handed.add(command.serial)
                self._server.spawn(self._put(command), name=f"put {command.serial}")
            else:
                self._hand(command)
        self._send_files()

    def _hand(self, command: Command) -> None:
        self._session.handed.add(command.serial)
        self._note(command)
        frame = frame_of(command)
        if frame is not None:
            self._session.send(frame)

    def _note(self, command: Command) -> None:
        if not self._session.durable:
            self._server.feed(Handed(key=self._session.key, serial=command.serial))

    # --- files

    async def _put(self, command: Command) -> None:
        try:
            batch = await self._server.sources.batch(command.spec.files)
        except BusError as error:
            failed = Finished(key=self._session.key, serial=command.serial, state=CommandState.FAILED, error=str(error))
            if not self.closed:
                self._server.feed(failed)
        else:
            if not self.closed and self._is_wanted(command):
                self._files[command.serial] = batch.sources
                self._note(command)
                await self._offer_files(command.serial, batch)
        self._preparing = False
        if not self.closed:
            if command.serial not in self._files:
                self._open.discard(command.serial)
            self.pump()

    async def _offer_files(self, serial: int, batch: Batch) -> None:
        """No faster than the guest reads: a list of ten thousand files is more than a line may keep."""
        for frame in batch.frames(serial, self._session.key[0]):
            while not (self._session.has_room or self.closed):
                self._moved.clear()
                await self._moved.wait()
            if self.closed or serial not in self._open:
                return
            self._session.write(frame)

    def want(self, frame: frames.Want) -> None:
        """A guest asks for a file from an offset on; raises WireError."""
        command = self._session.command(frame.serial)
        index = file_index(frame.stream)
        if frame.serial not in self._session.handed:
            raise WireError("a file is wanted before it was offered")
        if command is None:  # it was deleted, and many others since
            self._fail(frame.serial, index, DELETED)
            return
        if command.spec.kind is not CommandKind.SEND or index >= len(command.spec.files):
            raise WireError("a file is wanted that is not for this guest")
        key = (frame.serial, index)
        sources = self._files.get(frame.serial)
        if sources is None:
            if frame.serial not in self._early:
                self._server.spawn(self._look_again(command), name=f"want {frame.serial}")
            early = self._early.setdefault(frame.serial, {})
            early[index] = frame
            if len(early) > MAX_SENDING:
                raise WireError("too many files are wanted at once")
            return
        source = sources[index]
        self._reached[frame.serial] = max(index, self._reached.get(frame.serial, 0))
        if frame.offset > source.size:
            self._fail(frame.serial, index, "it has become shorter")
            return
        if key not in self._sending and len(self._sending) >= MAX_SENDING:
            raise WireError("too many files are wanted at once")
        sending = self._sending[key] = Sending(source)
        sending.offset = sending.acked = frame.offset
        if frame.offset == source.size and source.size:
            del self._sending[key]  # it is there already
            return
        self._send_files()

    async def _look_again(self, command: Command) -> None:
        """If a file has changed meanwhile, the guest sees that what arrives has another digest."""
        error = ""
        sources: tuple[Source, ...] = ()
        try:
            sources = (await self._server.sources.batch(command.spec.files)).sources
        except BusError as failure:
            error = str(failure)
        early = self._early.pop(command.serial, {})
        if self.closed or command.serial not in self._open:
            return
        for index, frame in early.items():
            if error:
                self._fail(command.serial, index, error)
            else:
                self._files[command.serial] = sources
                self.want(frame)

    def acked(self, frame: frames.Acked) -> None:
        """The guest has written so much."""
        key = (frame.serial, file_index(frame.stream))
        sending = self._sending.get(key)
        if sending is None:
            return
        sending.acked = min(max(sending.acked, frame.offset), sending.offset)
        if sending.ended and frame.offset >= sending.source.size:
            del self._sending[key]
        self._send_files()

    def failed(self, frame: frames.StreamFailed) -> None:
        """The guest does not want the rest."""
        self._sending.pop((frame.serial, file_index(frame.stream)), None)

    def moved(self, serial: int) -> Moved | None:
        """How much of a command's files the guest has; None if it has not asked for any yet."""
        reached = self._reached.get(serial)
        if reached is None:
            return None
        acked = {index: sending.acked for (own, index), sending in self._sending.items() if own == serial}
        asked_for = self._files[serial][: reached + 1]
        size = sum(acked.get(index, source.size) for index, source in enumerate(asked_for))
        return Moved(len(asked_for) - len(acked), size)

    @property
    def moving(self) -> set[int]:
        """Serials of the commands whose files are on their way."""
        return set(self._reached)

    def _send_files(self) -> None:
        """A chunk of each in turn, as long as the guest reads."""
        busy = True
        while busy and self._session.has_room:
            busy = False
            for (serial, index), sending in tuple(self._sending.items()):
                if not self._session.has_room:
                    return
                if not sending.ended and sending.offset - sending.acked < self._window:
                    busy |= self._send_chunk(serial, index, sending)

    def _send_chunk(self, serial: int, index: int, sending: Sending) -> bool:
        try:
            ledger = self._session.ledger
            frame, size = self._server.sources.frame(ledger, serial, index, sending.source, sending.offset)
        except ChangedError as error:
            del self._sending[serial, index]
            self._fail(serial, index, str(error))
            return False
        self._session.write(frame)
        sending.offset += size
        sending.ended = sending.offset >= sending.source.size
        return True

    def _fail(self, serial: int, index: int, why: str) -> None:
        self._session.send(frames.StreamFailed(serial=serial, stream=f"file/{index}", error=why))


def file_index(stream: str) -> int:
    """The number in the name of a file's stream; raises WireError."""
    kind, _, number = stream.partition("/")
    if kind != "file" or not (number.isascii() and number.isdecimal()) or len(number) > 9:
        raise WireError("a stream that there cannot be")
    return int(number)


def frame_of(command: Command) -> frames.Frame | None:
    """What an agent is told; None for a command that takes more than a frame."""
    spec, serial = command.spec, command.serial
    match spec.kind:
        case CommandKind.EXEC:
            return frames.Run(
                serial=serial,
                argv=tuple(map(frames.text, spec.argv)),
                background=spec.background,
                timeout_s=spec.timeout_s,
                stdin=spec.stdin,
                stdout=spec.stdout,
                stderr=spec.stderr,
            )
        case CommandKind.RECEIVE:
            return frames.Get(serial=serial, patterns=tuple(map(frames.text, spec.files)))
        case CommandKind.KILL:
            return frames.Kill(serial=serial, pid=spec.pid)
        case CommandKind.KILL_ALL:
            return frames.KillAll(serial=serial, name=spec.name)
        case CommandKind.LEVEL:
            return frames.Level(serial=serial, level=spec.level)
        case CommandKind.PROBE:
            return frames.Probe(
                serial=serial,
                protocol=spec.protocol,
                host=spec.host,
                port=spec.port,
                wait_s=spec.wait_s,
                packet=spec.packet,
            )
        case CommandKind.SEND:
            return None
