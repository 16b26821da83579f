"""`probe`: whether something can be reached from this guest, tried until it answers or time is up."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from shims.agent.commands.command import ENDED, Command
from shims.agent.line import names
from shims.agent.line.streams import BufferStream, OutStream
from shims.agent.loop import Timer

if TYPE_CHECKING:
    from shims.agent.agent import Agent

Message = dict[str, Any]

TRY_S = 2.0
"""For one attempt."""
PAUSE_S = 0.5
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Probe(Command):
    """TCP: a connection; UDP: any answer to a packet."""

    def __init__(self, agent: Agent, message: Message) -> None:
        super().__init__(agent, int(message["serial"]))
        self._kind = _KINDS[message["protocol"]]
        self._host, self._port = str(message["host"]), int(message["port"])
        self._wait_s, self._packet = float(message.get("wait_s", 0.0)), bytes(message.get("packet", b""))
        self._output: BufferStream | None = None
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._deadline_s = 0.0
        self._attempt = 0
        self._error = ""

    def start(self) -> None:
        """Try now."""
        held = not self.agent.session.is_up
        self._output = BufferStream(self.serial, "stdout", held=held, on_sent=self.tell)
        self._deadline_s = self.agent.loop.now_s + self._wait_s
        self._try()

    def _try(self) -> None:
        self._attempt = attempt = self._attempt + 1
        left_s = max(0.05, self._deadline_s - self.agent.loop.now_s)
        # Name servers that do not answer are asked for longer than some tests may take.
        self._timer = self.agent.loop.call_later(left_s, lambda: self._failed("no name server answers"))
        names.resolve(self.agent.loop, self._host, lambda address, error: self._resolved(attempt, address, error))

    def _resolved(self, attempt: int, address: str, error: str) -> None:
        if self.state == ENDED or attempt != self._attempt:
            return
        if self._timer is not None:
            self._timer.cancel()
        if error:
            self._failed(error)
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.socket(family, self._kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            code = self._socket.connect_ex((address, self._port))
            if self._kind == socket.SOCK_DGRAM:
                self._socket.send(self._packet)
        except (OSError, OverflowError) as failure:
            self._failed(getattr(failure, "strerror", None) or str(failure))
            return
        if code == 0 and self._kind == socket.SOCK_STREAM:
            self._end(passed=True)
            return
        fd = self._socket.fileno()
        if self._kind == socket.SOCK_STREAM:
            self.agent.loop.on_writable(fd, self._decided)
        else:
            self.agent.loop.on_readable(fd, self._decided)
        left_s = max(0.0, self._deadline_s - self.agent.loop.now_s)
        self._timer = self.agent.loop.call_later(min(TRY_S, max(left_s, 0.05)), lambda: self._failed("no answer"))

    def _decided(self) -> None:
        if self._socket is None:
            return
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self._kind == socket.SOCK_DGRAM and not code:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                code = error.errno or 1
        if code:
            self._failed(os.strerror(code))
        else:
            self._end(passed=True)

    def _failed(self, error: str) -> None:
        self._error = error
        self.abort()
        if self.agent.loop.now_s + PAUSE_S >= self._deadline_s:
            self._end(passed=False)
        else:
            self._timer = self.agent.loop.call_later(PAUSE_S, self._try)

    def _end(self, *, passed: bool) -> None:
        self.abort()
        if self._output is None:
            return
        self._output.add(f"{self._host}:{self._port} | {'pass' if passed else 'fail'}\n".encode())
        self._output.end()
        self.agent.session.stream(self._output)
        self.finish("exited", 0 if passed else 1, "" if passed else self._error)

    def abort(self) -> None:
        """Close the attempt."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self.agent.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def signal(self, number: int) -> None:
        """With the end of its output, which is nothing."""
        if number and self._output is not None and self.state != ENDED:
            self._output.end()
            self.agent.session.stream(self._output)
        super().signal(number)

    def streams(self) -> list[OutStream]:
        """stdout, with one line."""
        return [] if self._output is None else [self._output]

    def count(self, stream: str) -> int:
        """Bytes of this output in all."""
        return self._output.total if self._output is not None and stream == "stdout" else 0
