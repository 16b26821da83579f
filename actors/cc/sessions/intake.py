"""What a guest sends: output of commands, and files. Written first, published and acknowledged then.

Where a stream goes on is always known from the disk: the size of the file, and what the table says was deleted of it.
So a repeat writes the same bytes to the same place.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, Final

from actors.cc.decisions.reports import is_news, kept
from actors.cc.inputs import FileArrived, Finished
from actors.cc.protocol import frames
from actors.cc.sessions.dispatch import DELETED, file_index
from actors.cc.sessions.growing import Growing
from actors.cc.table import Command
from bus.messages.cc import CommandKind, CommandOutput, CommandState
from bus.topics import cc_topic
from shims.agent.line.wire import WireError
from shims.files.responses import OUTPUTS, GuestNameError, Output, guest_path

if TYPE_CHECKING:
    from actors.cc.sessions.session import Session

MAX_GROWING: Final = 16
"""Files of one guest under way at once; an agent has four."""
MAX_FILES: Final = 20_000
"""Of one command: which of them have arrived is remembered until its end."""
MAX_HELD: Final = 10_000
"""Ends of commands that wait for their output."""


class Flow:
    """Standard output or standard error of one command."""

    def __init__(self, output: Output | None, base: int, position: int) -> None:
        self.output = output
        """None if nobody wants it any more."""
        self.base = base
        self.position = position
        self.blocked = False
        self.failed = False


class Intake:
    """See the module. One of each session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._server = session.server
        self._flows: dict[tuple[int, str], Flow] = {}
        self._growing: dict[tuple[int, int], Growing] = {}
        self._rereads = False
        """Whether parts of files from before are being read."""
        self._held: dict[int, frames.Done] = {}
        """Ends of commands whose output is not all here."""

    def close(self) -> None:
        """The session is over; what is on the disk stays."""
        for growing in self._growing.values():
            growing.close()
        self._growing.clear()
        for flow in self._flows.values():
            if flow.output is not None:
                self._server.responses.close(flow.output)
        self._flows.clear()

    def forget(self, namespace: str, ids: tuple[int, ...] | None, uuid: str) -> list[tuple[str, str, int, str, int]]:
        """Responses were removed: what still comes begins a new file. Returns where the streams are."""
        own_namespace, own_uuid = self._session.key
        if own_namespace != namespace or uuid not in ("", own_uuid):
            return []
        found: list[tuple[str, str, int, str, int]] = []
        for (serial, stream), flow in self._flows.items():
            command = self._session.command(serial)
            if command is None or command.quiet:
                flow.output = None
            elif flow.output is not None and (ids is None or flow.output[1] in ids):
                flow.base = flow.position
                found.append((own_namespace, own_uuid, serial, stream, flow.position))
        return found

    # --- output

    def _flow(self, serial: int, stream: str, acked: int = 0) -> Flow:
        flow = self._flows.get((serial, stream))
        if flow is None:
            command = self._session.command(serial)
            if serial not in self._session.handed:
                return Flow(None, 0, acked)  # and nothing is kept of it
            if command is None or command.quiet:
                flow = Flow(None, 0, acked)
            else:
                namespace, uuid = self._session.key
                output = (namespace, command.id, uuid, stream)
                progress = command.guests.get(uuid)
                base = progress.dropped.get(stream, 0) if progress else 0
                flow = Flow(output, base, max(acked, base + self._server.responses.size(output)))
            self._flows[serial, stream] = flow
        return flow

    def position(self, serial: int, stream: str) -> int:
        """Bytes of a stream that have arrived."""
        flow = self._flows.get((serial, stream))
        return flow.position if flow else 0

    def growing(self, serial: int) -> int | None:
        """Bytes of the files of a command that are on their way; None if there is none."""
        positions = [growing.position for (own, _), growing in self._growing.items() if own == serial]
        return sum(positions) if positions else None

    @property
    def moving(self) -> set[int]:
        """Serials of the commands whose files are on their way."""
        return {serial for serial, _ in self._growing}

    def resume(self, serial: int, stdout: int, stderr: int) -> None:
        """An agent that was here before says how much of its output was acknowledged: more of it may be on the disk."""
        for stream, acked in (("stdout", stdout), ("stderr", stderr)):
            position = self._flow(serial, stream, acked).position
            self._session.send(frames.Want(serial=serial, stream=stream, offset=position))

    def data(self, frame: frames.Data) -> None:
        """Bytes of a stream; raises WireError."""
        if frame.stream in OUTPUTS:
            self._output(frame)
        else:
            self._file_data(frame)

    def _output(self, frame: frames.Data) -> None:
        flow = self._flow(frame.serial, frame.stream)
        end = frame.offset + len(frame.data)
        if flow.output is None:
            flow.position = max(flow.position, end)
            self._ack(frame.serial, frame.stream, flow.position)
            self._settle(frame.serial)
            return
        if frame.offset > flow.position:
            if not flow.blocked:
                self._session.send(frames.Want(serial=frame.serial, stream=frame.stream, offset=flow.position))
            return
        fresh = frame.data[flow.position - frame.offset :]
        if flow.blocked:
            return
        if fresh:
            self._write(frame.serial, frame.stream, flow, flow.output, fresh)
        if not flow.blocked:
            self._ack(frame.serial, frame.stream, flow.position)
            self._settle(frame.serial)

    def _write(self, serial: int, stream: str, flow: Flow, output: Output, data: bytes) -> None:
        """What does not fit on the disk is asked for again when there is room."""
        written = 0
        try:
            if self._session.room.take(output[0], len(data)):
                written = self._server.responses.write(output, flow.position - flow.base, data)
        except OSError as error:
            self._server.log.warn("output_not_written", uuid=output[2], id=output[1], error=str(error))
        if written < len(data):
            flow.blocked = True
        if written:
            event = CommandOutput(id=output[1], offset=flow.position, data=data[:written])
            flow.position += written
            namespace, uuid = self._session.key
            topic = cc_topic(namespace, uuid, str(output[1]), stream)
            self._server.publish(topic, event, namespace=namespace)

    def _ack(self, serial: int, stream: str, offset: int) -> None:
        self._session.send(frames.Acked(serial=serial, stream=stream, offset=offset))

    def tick(self) -> None:
        """Once a second: ask again for what there was no room for."""
        for (serial, stream), flow in self._flows.items():
            if flow.blocked and flow.output is not None and self._session.room.take(flow.output[0], 1):
                flow.blocked = False
                self._session.send(frames.Want(serial=serial, stream=stream, offset=flow.position))

    def failed(self, frame: frames.StreamFailed) -> None:
        """The guest cannot send the rest."""
        if frame.stream in OUTPUTS:
            self._flow(frame.serial, frame.stream).failed = True
            self._settle(frame.serial)
            return
        growing = self._growing.pop((frame.serial, file_index(frame.stream)), None)
        if growing is not None:
            self._drop(frame.serial, growing)

    # --- ends

    def done(self, frame: frames.Done) -> None:
        """A command has ended; what it said may still be missing, if the disk was full or the line broken."""
        if len(self._held) >= MAX_HELD:
            raise WireError("more commands have ended than there are")
        self._held[frame.serial] = frame
        self._settle(frame.serial, ask=True)

    def _settle(self, serial: int, *, ask: bool = False) -> None:
        done = self._held.get(serial)
        if done is None:
            return
        command = self._session.command(serial)
        if command is not None and command.spec.kind in (CommandKind.EXEC, CommandKind.PROBE):
            for stream, total in (("stdout", done.stdout), ("stderr", done.stderr)):
                flow = self._flow(serial, stream) if total or (serial, stream) in self._flows else None
                if flow is not None and flow.position < total and not flow.failed:
                    if ask and not flow.blocked:
                        self._session.send(frames.Want(serial=serial, stream=stream, offset=flow.position))
                    return
        del self._held[serial]
        self._end(serial, done, command)

    def _end(self, serial: int, done: frames.Done, command: Command | None) -> None:
        namespace, uuid = self._session.key
        for stream in OUTPUTS:
            flow = self._flows.pop((serial, stream), None)
            if flow is not None and flow.output is not None:
                self._server.responses.close(flow.output)
        if command is not None and command.spec.kind is CommandKind.RECEIVE:
            for own, index in [key for key in self._growing if key[0] == serial]:
                self._growing.pop((own, index)).close()
            self._server.responses.discard_all(namespace, command.id, uuid)
        state = CommandState(done.outcome.value)
        if command is not None and not command.quiet and state is not CommandState.KILLED:
            # Before it is known: whoever waits for the end finds everything.
            self._server.keep(kept(command, self._session.key, state, done.code, done.error, done.stderr))
        finished = Finished(
            key=self._session.key,
            serial=serial,
            state=state,
            code=done.code,
            error=done.error,
            guest_s=done.time_s,
            stdout=done.stdout,
            stderr=done.stderr,
            moved=sent.size if (sent := self._session.dispatch.moved(serial)) else 0,
        )
        if is_news(self._server.table, finished):
            self._server.feed(finished)
        else:
            self._session.send(frames.Confirm(serial=serial))
        self._session.ended(serial)

    # --- files

    def file(self, frame: frames.File) -> None:
        """A guest has a file; raises WireError."""
        command = self._session.command(frame.serial)
        stream = f"file/{frame.index}"
        if frame.error:
            return  # the sentence comes once more with the end of the command
        if command is None:
            if frame.serial in self._session.handed:
                self._refuse(frame.serial, stream, DELETED)
            return
        if command.spec.kind is not CommandKind.RECEIVE or frame.serial not in self._session.handed:
            raise WireError("a file that nobody asked for")
        if len(self._growing) >= MAX_GROWING:
            raise WireError("too many files")
        if frame.index >= MAX_FILES:  # nothing that the guest did wrong: it was asked for them
            self._refuse(frame.serial, stream, f"more than {MAX_FILES} files cannot be fetched at once")
            return
        namespace, uuid = self._session.key
        progress = command.guests.get(uuid)
        if command.quiet or (progress is not None and frame.index in progress.arrived):
            self._ack(frame.serial, stream, frame.size)
            return
        old = self._growing.pop((frame.serial, frame.index), None)
        if old is not None:
            old.close()
        name = ""
        try:
            path = guest_path(frame.name)
            mark = hashlib.sha256(repr((self._session.boot, path, frame.size, frame.index)).encode()).hexdigest()
            name = f"{uuid}.{mark[:16]}"
            if not self._session.room.fits(namespace, frame.size):
                raise GuestNameError(f"{frame.size} bytes: there is no room for it on the host")
            fd = self._server.responses.open_partial(namespace, command.id, name)
        except (GuestNameError, OSError) as error:
            self._refuse(frame.serial, stream, str(error))
            return
        finally:
            if old is not None and old.name != name:
                self._server.responses.discard(namespace, command.id, old.name)
        growing = self._growing[frame.serial, frame.index] = Growing(frame, path, name, fd)
        if not os.fstat(fd).st_size:
            self._ready(growing)
        elif not self._rereads:
            self._rereads = True
            self._server.spawn(self._reread(), name="reread files")

    async def _reread(self) -> None:
        """One after the other, and of few guests at a time: they may begin and give up files as often as they like."""
        try:
            while (growing := next((one for one in self._growing.values() if not one.ready), None)) is not None:
                async with self._session.room.rereading:
                    if growing.closed:
                        continue
                    error = await self._read_again(growing)
                if growing.closed:
                    continue
                if error:
                    self._give_up(growing, f"it cannot be read on the host: {error}")
                else:
                    self._ready(growing)
        finally:
            self._rereads = False

    async def _read_again(self, growing: Growing) -> str:
        try:
            fd = os.dup(growing.fd)  # the session may end meanwhile
        except OSError as error:
            return error.strerror or str(error)
        try:
            await asyncio.to_thread(growing.read_again, fd)
        except OSError as error:
            return error.strerror or str(error)
        finally:
            os.close(fd)
        return ""

    def _ready(self, growing: Growing) -> None:
        growing.ready = True
        announced = growing.announced
        want = frames.Want(serial=announced.serial, stream=f"file/{announced.index}", offset=growing.position)
        self._session.send(want)

    def _file_data(self, frame: frames.Data) -> None:
        growing = self._growing.get((frame.serial, file_index(frame.stream)))
        if growing is None or not growing.ready or frame.offset > growing.position:
            return  # given up already, or it will be sent again
        fresh = frame.data[growing.position - frame.offset :]
        if growing.position + len(fresh) > growing.announced.size:
            self._give_up(growing, "it is longer than was said")
            return
        if not self._session.room.take(self._session.key[0], len(fresh)):
            self._give_up(growing, "there is no room for it on the host")
            return
        try:
            written = os.pwrite(growing.fd, fresh, growing.position) if fresh else 0
        except OSError as error:
            self._give_up(growing, f"it cannot be written on the host: {error.strerror}")
            return
        if written < len(fresh):
            self._give_up(growing, "there is no room for it on the host")
            return
        growing.digest.update(fresh)
        growing.position += written
        if growing.position < growing.announced.size:
            self._ack(frame.serial, frame.stream, growing.position)

    def digest(self, frame: frames.Digest) -> None:
        """A file is whole if it has this digest."""
        growing = self._growing.get((frame.serial, frame.index))
        command = self._session.command(frame.serial)
        if growing is None or growing.position < growing.announced.size:
            return
        if command is None:
            self._give_up(growing, DELETED)
            return
        if growing.digest.hexdigest() != frame.sha256:
            self._give_up(growing, "what has arrived is not what was sent")
            return
        namespace, uuid = self._session.key
        mode = growing.announced.mode
        try:
            self._server.responses.place(namespace, command.id, growing.name, uuid, growing.path, mode)
        except OSError as error:
            self._give_up(growing, f"it cannot be put in its place on the host: {error.strerror}")
            return
        del self._growing[frame.serial, frame.index]
        growing.close()
        size = growing.announced.size
        self._server.feed(FileArrived(key=self._session.key, serial=frame.serial, index=frame.index, size=size))
        self._ack(frame.serial, f"file/{frame.index}", growing.announced.size)

    def _give_up(self, growing: Growing, why: str) -> None:
        serial, index = growing.announced.serial, growing.announced.index
        del self._growing[serial, index]
        self._drop(serial, growing)
        self._refuse(serial, f"file/{index}", why)

    def _drop(self, serial: int, growing: Growing) -> None:
        growing.close()
        command = self._session.command(serial)
        if command is not None:
            self._server.responses.discard(self._session.key[0], command.id, growing.name)

    def _refuse(self, serial: int, stream: str, why: str) -> None:
        self._session.send(frames.StreamFailed(serial=serial, stream=stream, error=why))
