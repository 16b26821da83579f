"""Commands that run a program: its output goes to the server or into pipes, its input comes from nowhere or a pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shims.agent import platform_linux
from shims.agent.commands.command import ENDED, RUNNING, Command
from shims.agent.line.streams import BufferStream, OutStream
from shims.agent.loop import Timer
from shims.agent.pipes import MAX_NAME, PipeInput, PipeOutput
from shims.agent.processes import SpawnError, find_program, search_path, signal_group, spawn

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

SETTLE_S = 0.5
"""How long after its end the output of a program may still come from a process that it has left behind."""
GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
_READ_BYTES = 64 * 1024


class StreamSink:
    """Output for the server."""

    def __init__(self, agent: Agent, stream: BufferStream) -> None:
        self._agent, self.stream = agent, stream

    @property
    def room(self) -> int:
        """Bytes that may be added."""
        return self.stream.room(self._agent.session.window)

    @property
    def is_done(self) -> bool:
        """Nothing needs to be waited for: what is kept is sent whenever there is a session."""
        return True

    def when_room(self, call: Callable[[], None]) -> None:
        """Call when there is more of it."""
        self.stream.on_room = call

    def add(self, data: bytes) -> None:
        """More output."""
        self.stream.add(data)
        self._agent.session.stream(self.stream)

    def end(self) -> None:
        """That was all."""
        self.stream.end()
        self._agent.session.stream(self.stream)


class Drain:
    """Carries what a program writes from its pipe to a sink, no faster than the sink takes it."""

    def __init__(self, agent: Agent, fd: int, sink: StreamSink | PipeOutput, on_end: Callable[[], None]) -> None:
        self._loop, self._fd, self._sink, self._on_end = agent.loop, fd, sink, on_end
        self._left: int | None = None
        """Bytes still to be taken, once the program has settled."""
        self.is_open = True
        sink.when_room(self._listen)
        self._listen()

    def _listen(self) -> None:
        if self.is_open:
            self._loop.on_readable(self._fd, self._read if self._sink.room else None)

    def _read(self) -> None:
        most = min(_READ_BYTES, self._sink.room)
        if self._left is not None:
            most = min(most, self._left)
        try:
            data = os.read(self._fd, most) if most else b""
        except BlockingIOError:
            return
        if data:
            self._sink.add(data)
            if self._left is not None:
                self._left -= len(data)
        if not data and most:
            self._close()
            os.close(self._fd)
        elif self._left == 0:
            self._abandon()
        else:
            self._listen()

    def settle(self) -> None:
        """Take what is in the pipe now, and no more: another process may hold it open for ever."""
        if not self.is_open or self._left is not None:
            return
        self._left = platform_linux.bytes_waiting(self._fd)
        if self._left == 0:
            self._abandon()

    def _abandon(self) -> None:
        """End here, but go on reading for nobody, so that the process left behind neither stops nor breaks."""
        fd = self._fd
        self._close()

        def discard() -> None:
            try:
                if os.read(fd, _READ_BYTES):
                    return
            except BlockingIOError:
                return
            self._loop.forget(fd)
            os.close(fd)

        self._loop.on_readable(fd, discard)

    def _close(self) -> None:
        self.is_open = False
        self._loop.forget(self._fd)
        self._sink.end()
        self._on_end()


class Run(Command):
    """A program in the foreground or in the background."""

    def __init__(self, agent: Agent, message: Message) -> None:
        super().__init__(agent, int(message["serial"]))
        self.argv = [word if isinstance(word, bytes) else word.encode() for word in message["argv"]]
        if not self.argv or not self.argv[0]:
            raise ValueError("a command without words")
        self.background = bool(message.get("background", False))
        self._timeout_s = float(message.get("timeout_s", 0.0))
        self._pipes = {name: str(message.get(name, "")) for name in ("stdin", "stdout", "stderr")}
        self._sinks: dict[str, StreamSink | PipeOutput] = {}
        self._drains: list[Drain] = []
        self._input: PipeInput | None = None
        self._timer: Timer | None = None
        self._status: int | None = None
        self._timed_out = False
        self._pipe_error = ""

    # --- beginning

    def start(self) -> None:
        """Write down that it begins, and let it."""
        self.agent.records.begin(self.serial)
        theirs: list[int] = []
        ours: list[int] = []
        try:
            if any(len(name) > MAX_NAME for name in self._pipes.values()):
                raise SpawnError(f"the name of a pipe has at most {MAX_NAME} characters")
            path = find_program(self.argv[0], search_path(self.agent.files))
            stdin_reading, stdin_writing = os.pipe2(os.O_CLOEXEC)
            theirs.append(stdin_reading)
            ours.append(stdin_writing)
            for _ in range(2):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                theirs.append(writing)
                ours.append(reading)
            self.pid = spawn(self.argv, path, *theirs)
        except (SpawnError, OSError) as error:
            for fd in ours:
                os.close(fd)
            self.finish("failed", error=str(error) if isinstance(error, SpawnError) else f"{error.strerror}")
            return
        finally:
            for fd in theirs:
                os.close(fd)
        self._started(*ours)

    def _started(self, stdin: int, stdout: int, stderr: int) -> None:
        agent = self.agent
        agent.session.send({"type": "started", "serial": self.serial, "pid": self.pid, "time_s": self.started_s})
        if self.background:
            agent.session.send(self.process(gone=False))
        for name, fd in (("stdout", stdout), ("stderr", stderr)):
            os.set_blocking(fd, False)
            self._sinks[name] = self._sink(name)
            self._drains.append(Drain(agent, fd, self._sinks[name], self._check))
        if self._pipes["stdin"]:
            os.set_blocking(stdin, False)
            self._input = PipeInput(agent, self._pipes["stdin"], stdin, self._pipe_failed)
        else:
            os.close(stdin)
        if self._timeout_s > 0:
            self._timer = agent.loop.call_later(self._timeout_s, self._time_is_up)
        agent.processes.watch(self.pid, self._exited)
        if self.background:
            self.on_turn_over()

    def _sink(self, name: str) -> StreamSink | PipeOutput:
        if self._pipes[name]:
            return PipeOutput(self.agent, self._pipes[name], self._check, self._pipe_failed)
        held = not self.agent.session.is_up
        return StreamSink(self.agent, BufferStream(self.serial, name, held=held, on_sent=self.tell))

    def process(self, *, gone: bool) -> Message:
        """As the list of background processes has it."""
        argv = [word.decode("utf-8", "replace") for word in self.argv]
        return {"type": "process", "pid": self.pid, "argv": argv, "serial": self.serial, "gone": gone}

    # --- ending

    def signal(self, number: int) -> None:
        """To the process group of the program."""
        if self.state != RUNNING:
            super().signal(number)
        elif number:
            signal_group(self.pid, number)

    def _time_is_up(self) -> None:
        if self._status is not None:
            return
        kill = self._timed_out
        self._timed_out = True
        signal_group(self.pid, signal.SIGKILL if kill else signal.SIGTERM)
        self._timer = self.agent.loop.call_later(GRACE_S, self._time_is_up)

    def _exited(self, status: int) -> None:
        self._status = status
        if self._timer is not None:
            self._timer.cancel()
        if self._timed_out:
            signal_group(self.pid, signal.SIGKILL)  # whoever has not heard the first one
        if self._input is not None:
            self._input.close()
        if self.background and not self.is_void:
            self.agent.session.send(self.process(gone=True))
        if any(drain.is_open for drain in self._drains):
            self._timer = self.agent.loop.call_later(SETTLE_S, self._settle)
        self._check()

    def _pipe_failed(self, error: str) -> None:
        """A pipe ended, and not because it was deleted: told with the end of the program, which saw only the end."""
        self._pipe_error = self._pipe_error or f"a pipe of it broke: {error}"

    def _settle(self) -> None:
        for drain in self._drains:
            drain.settle()

    def _check(self) -> None:
        """It has ended when its program has, all output is taken, and what went into pipes has arrived there."""
        if self._status is None or any(drain.is_open for drain in self._drains):
            return
        if not all(sink.is_done for sink in self._sinks.values()) or self.state == ENDED:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.agent.processes.release(self.pid)
        if self._timed_out:
            self.finish("timeout", abs(self._status), f"it ran for more than {self._timeout_s:g} s")
        elif self._status < 0:
            self.finish("signaled", -self._status, self._pipe_error)
        else:
            self.finish("exited", self._status, self._pipe_error)

    @property
    def is_in_background(self) -> bool:
        """And runs."""
        return self.background and self.state == RUNNING and self.pid > 0 and self._status is None

    @property
    def command_line(self) -> str:
        """As `killall` looks at it."""
        return b" ".join(self.argv).decode("utf-8", "replace")

    def kill(self) -> None:
        """At once, with its process group."""
        signal_group(self.pid, signal.SIGKILL)

    # --- output

    def streams(self) -> list[OutStream]:
        """stdout and stderr, unless they go into pipes."""
        return [sink.stream for sink in self._sinks.values() if isinstance(sink, StreamSink)]

    def count(self, stream: str) -> int:
        """Bytes of this output in all."""
        sink = self._sinks.get(stream)
        return sink.stream.total if isinstance(sink, StreamSink) else 0
