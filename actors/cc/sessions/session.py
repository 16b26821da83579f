"""A session with one agent, from its hello until the line is gone or another session takes its place."""

from __future__ import annotations

from collections import Counter
from typing import Final

from actors.cc.decisions.reports import as_kept, is_news
from actors.cc.inputs import Began, FactsChanged, Left, Synced
from actors.cc.protocol import frames
from actors.cc.server import WINDOW, Server
from actors.cc.sessions.dispatch import Dispatch
from actors.cc.sessions.guest_pipes import GuestPipes
from actors.cc.sessions.intake import Intake
from actors.cc.sessions.lines import Line
from actors.cc.sessions.mounts import Mounts
from actors.cc.sessions.room import Room
from actors.cc.sessions.tunnels import Tunnels
from actors.cc.table import Command, Guest, Key
from bus.errors import BusError
from bus.messages.base import WILDCARD
from bus.messages.cc import CommandKind, CommandState, GuestProcess
from bus.messages.vm import TagVms
from shims.agent.line.wire import WireError
from shims.files.responses import OUTPUTS

KEEPALIVE_S: Final = 15.0
LOST_S: Final = 4 * KEEPALIVE_S
"""Silence after which a line that nobody closes is taken for broken."""
MAX_RECORDS: Final = 20_000
MAX_PROCESSES: Final = 1_000
SHOWN_ARGUMENTS: Final = 4096
"""Characters of a command line that are kept."""
MAX_TAGS: Final = 16
"""Tags that one guest sets at a time."""
TAGS_RATE: Final = 10
"""A second."""
TAG_S: Final = 10.0


class Session:
    """See the module."""

    def __init__(self, server: Server, line: Line, key: Key, hello: frames.Hello, ledger: str, room: Room) -> None:
        self.server = server
        self.line = line
        self.key = key
        self.boot = hello.boot
        self.agent = hello.agent
        self.durable = hello.durable
        self.features = frozenset(hello.features)
        self.ledger = ledger
        self.room = room
        self.began_s = line.loop.time()
        self.synced = False
        self.served = False
        """What the agent said before `synced` is in the table, so it may be given commands."""
        self.over = False
        self.handed: set[int] = set()
        """Serials that the agent has, from this session or before."""
        self.processes: dict[int, GuestProcess] = {}
        """By pid; `id` is the serial."""
        self._records: set[int] = set()
        self._pinged_s = 0.0
        """When a ping went out that has no answer yet."""
        self._reminded = False
        self._tags = 0
        self._quota: Counter[str] = Counter()
        """What the guest has done in this second."""
        self._facts: frames.Facts | None = None
        self.intake = Intake(self)
        self.dispatch = Dispatch(self, WINDOW)
        self.pipes = GuestPipes(self)
        self.tunnels = Tunnels(self)
        self.mounts = Mounts(self)

    # --- for the parts

    @property
    def has_room(self) -> bool:
        """Whether the guest reads, so that it may be given more than it needs to know."""
        return not (self.line.full or self.over)

    def send(self, frame: frames.Frame) -> None:
        """Send a frame."""
        if not self.over:
            self.line.send(frame)

    def write(self, frame: bytes) -> None:
        """Send a frame that is encoded already."""
        if not self.over:
            self.line.write(frame)

    def guest(self) -> Guest | None:
        """Whose session it is."""
        return self.server.table.guest(self.key)

    def command(self, serial: int) -> Command | None:
        """A command of the namespace."""
        ledger = self.server.table.namespaces.get(self.key[0])
        return ledger.commands.get(serial) if ledger else None

    def ended(self, serial: int) -> None:
        """A command has come to its end here."""
        self.dispatch.ended(serial)

    # --- life

    def end(self, reason: str, *, replaced: bool = False) -> None:
        """It is over; harmless when repeated."""
        if self.over:
            return
        self.over = True
        self.dispatch.close()
        self.intake.close()
        self.pipes.close()
        self.tunnels.close(reason)
        self.mounts.close(reason)
        if self.synced and not replaced:
            self.server.feed(Left(key=self.key, reason=reason[:300]))

    def tick(self, now_s: float) -> None:
        """Once a second."""
        line = self.line
        silent_s = now_s - line.heard_s
        if silent_s > LOST_S and line.vm_id is None:
            line.close("it has fallen silent")
        elif silent_s > LOST_S and line.dialled and not self._reminded:
            self._reminded = True  # once: what a frozen guest does not read is not to pile up
            line.greet()
        elif now_s - line.said_s >= KEEPALIVE_S and not self._pinged_s:
            self._pinged_s = now_s
            self.send(frames.Ping(n=int(now_s)))
        self._quota.clear()
        self._tell_facts()
        self.intake.tick()
        self.mounts.tick(now_s)

    def writable(self) -> None:
        """The guest has read what there was."""
        self.dispatch.pump()
        self.tunnels.flow()
        self.mounts.flow()
        self.pipes.writable()

    # --- frames

    def take(self, frame: frames.AgentFrame) -> None:
        """Do what a frame says; raises WireError."""
        self._reminded = False
        match frame:
            case frames.Data():
                self.intake.data(frame)
            case frames.Acked():
                self.dispatch.acked(frame)
            case frames.Ping(n=n):
                self.send(frames.Pong(n=n))
            case frames.Pong():
                self._pinged_s = 0.0
            case frames.Record():
                self._record(frame)
            case frames.Synced():
                self._synced()
            case frames.Started(serial=serial, pid=pid, time_s=time_s):
                if serial in self.handed:
                    self._began(serial, pid, time_s)
            case frames.Done():
                if frame.serial in self.handed:
                    self.intake.done(_tidy(frame))
            case frames.Want(stream=stream) if stream not in OUTPUTS:
                self.dispatch.want(frame)
            case frames.File():
                self.intake.file(frame)
            case frames.Digest():
                self.intake.digest(frame)
            case frames.StreamFailed():
                self._stream_failed(frame)
            case frames.Facts():
                self._facts = frame
            case frames.Process():
                self._process(frame)
            case frames.Tag():
                self._tag(frame)
            case frames.OpenPipe() | frames.PipeData() | frames.PipeAck() | frames.PipeEnd():
                self.pipes.take(frame)
            case frames.Fuse():
                self.mounts.take(frame)
            case _:
                self.tunnels.take(frame)

    def _record(self, frame: frames.Record) -> None:
        """What the agent has from before; what nobody wants any more is taken back."""
        if self.synced or len(self._records) >= MAX_RECORDS:
            raise WireError("a record that nobody asked for")
        serial = frame.serial
        self._records.add(serial)
        self.dispatch.take_over(serial, is_open=frame.state is not frames.RecordState.ENDED)
        command = self.command(serial)
        progress = command.guests.get(self.key[1]) if command else None
        unwanted = command is None or not command.listed or command.cancelled
        match frame.state:
            case frames.RecordState.WAITING:
                if unwanted or (progress is not None and progress.state is CommandState.KILLED):
                    self.send(frames.Signal(serial=serial, signal=0))
            case frames.RecordState.RUNNING:
                self._began(serial, frame.pid, frame.time_s)
                if command is None or command.spec.kind in (CommandKind.EXEC, CommandKind.PROBE):
                    self.intake.resume(serial, frame.stdout, frame.stderr)
            case frames.RecordState.ENDED:
                done = frames.Done(
                    serial=serial,
                    outcome=frame.outcome,
                    code=frame.code,
                    error=frame.error,
                    time_s=frame.time_s,
                    stdout=frame.stdout,
                    stderr=frame.stderr,
                )
                self.intake.done(_tidy(done))

    def _began(self, serial: int, pid: int, time_s: float) -> None:
        begun = Began(key=self.key, serial=serial, pid=pid, guest_s=_wall_clock(time_s))
        if is_news(self.server.table, begun):
            self.server.feed(begun)
        self.dispatch.begun(serial)

    def _tell_facts(self) -> None:
        """At most once a second: each is written down."""
        facts, self._facts = self._facts, None
        guest = self.guest()
        if facts is not None and guest is not None:
            old = (guest.facts.hostname, guest.facts.ips, guest.facts.macs)
            new = as_kept(facts.hostname, facts.ips, facts.macs)
            if new != old:
                self.server.feed(FactsChanged(key=self.key, hostname=new[0], ips=new[1], macs=new[2]))

    def may(self, what: str, limit: int) -> bool:
        """Whether a guest may do this once more in this second."""
        self._quota[what] += 1
        return self._quota[what] <= limit

    def _synced(self) -> None:
        if not self.synced:
            self.synced = True
            self.server.feed(Synced(key=self.key, serials=tuple(sorted(self._records))))

    def _stream_failed(self, frame: frames.StreamFailed) -> None:
        command = self.command(frame.serial)
        if command is not None and command.spec.kind is CommandKind.SEND and frame.stream not in OUTPUTS:
            self.dispatch.failed(frame)
        elif frame.serial in self.handed:
            self.intake.failed(frame)

    def _process(self, frame: frames.Process) -> None:
        if frame.gone:
            self.processes.pop(frame.pid, None)
        elif len(self.processes) < MAX_PROCESSES or frame.pid in self.processes:
            self.processes[frame.pid] = GuestProcess(
                vm="", uuid=self.key[1], pid=frame.pid, argv=_shortened(frame.argv), id=frame.serial
            )

    # --- tags

    def _tag(self, frame: frames.Tag) -> None:
        guest = self.guest()
        if guest is None or self._tags >= MAX_TAGS or not self.may("tag", TAGS_RATE):
            self.send(frames.Tagged(number=frame.number, error="too many tags are being set: try again"))
            return
        self._tags += 1
        self.server.spawn(self._set_tag(frame, guest.vm.vm_id), name="tag")

    async def _set_tag(self, frame: frames.Tag, vm_id: int) -> None:
        error = ""
        try:
            if frame.key == WILDCARD or not frame.key:
                error = f"a tag cannot be called `{frame.key}`"
            else:
                request = TagVms(target=str(vm_id), key=frame.key, value=frame.value)
                report = await self.server.port.ask("vm", request, timeout_s=TAG_S, namespace=self.key[0])
                error = "; ".join(report.errors)
        except BusError as failure:
            error = str(failure)
        finally:
            self._tags -= 1
        self.send(frames.Tagged(number=frame.number, error=error[:4000]))


def _wall_clock(time_s: float) -> float:
    """A guest may say anything, also that it is no number."""
    return time_s if 0 <= time_s < 2**40 else 0.0


def _shortened(argv: tuple[str | bytes, ...]) -> tuple[str, ...]:
    """As much of a command line as is worth keeping."""
    kept: list[str] = []
    room = SHOWN_ARGUMENTS
    for word in argv:
        kept.append(frames.shown(word)[:room])
        room -= len(kept[-1]) + 1
        if room <= 0:
            break
    return tuple(kept)


def _tidy(done: frames.Done) -> frames.Done:
    return frames.Done(
        serial=done.serial,
        outcome=done.outcome,
        code=done.code,
        error=done.error,
        time_s=_wall_clock(done.time_s),
        stdout=done.stdout,
        stderr=done.stderr,
    )
