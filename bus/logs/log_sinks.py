"""Where log records go besides stderr: a file, syslog, memory. None of them ever stops the process that logs.

Own few lines rather than `logging.handlers.SysLogHandler`: that waits for a TCP server to take a connection and every
record, holds a lock across fork, and wants its peer's name resolved in this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections import deque
from typing import Final, Protocol

from bus.logs.log_format import Line, syslog_packet, text_line
from bus.logs.log_settings import SYSLOG_LOCAL, LogSettings, parse_syslog

LOCAL_SYSLOG = "/dev/log"
FILE_MODE: Final = 0o660
DIRECTORY_MODE: Final = 0o755
MAX_WAITING: Final = 512
"""Packets kept while a syslog server is away; then the oldest are dropped."""
RECONNECT_S: Final = 2.0
MAX_RING_CHARACTERS: Final = 2 * 1024 * 1024
"""Of one process, however many records were asked for."""


class Sink(Protocol):
    """Takes records; neither raises nor waits."""

    def write(self, line: Line) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Try again to get rid of what is waiting; called about once a second."""

    def forked(self) -> None:
        """This process is a copy now: share nothing with the other that cannot be shared."""

    def close(self) -> None:
        """Take no more."""


def open_sinks(settings: LogSettings) -> tuple[list[Sink], list[str]]:
    """The sinks that the settings name, and a sentence for each that cannot be opened."""
    sinks: list[Sink] = []
    problems: list[str] = []
    if settings.file:
        try:
            sinks.append(FileSink(settings.file))
        except (OSError, ValueError) as error:
            problems.append(f"cannot open log file {settings.file}: {_reason(error)}")
    if settings.syslog:
        try:
            sinks.append(SyslogSink(settings.syslog))
        except OSError as error:
            where = "Unix syslog delivery error" if settings.syslog == SYSLOG_LOCAL else "syslog"
            problems.append(f"{where}: {_reason(error)}")
    return sinks, problems


def _reason(error: OSError | ValueError) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)


class FileSink:
    """A file in minimega's line format. Each record is one write in append mode, so processes can share the file."""

    def __init__(self, path: str) -> None:
        """Open it, and make it and its directories if need be; raises OSError, or ValueError if it is no plain file."""
        try:
            os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)  # noqa: PTH103, PTH120 - no pathlib here
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
        # Not blocking: a fifo without a reader is refused instead of waited for (open(2), ENXIO).
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
            os.fchmod(self._fd, FILE_MODE)  # whatever the umask
        except FileExistsError:
            self._fd = os.open(path, flags)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise ValueError("is not a regular file")

    def write(self, line: Line) -> None:
        """One write; a full disk loses the record."""
        with contextlib.suppress(OSError):
            os.write(self._fd, f"{text_line(line)}\n".encode("utf-8", "replace"))

    def flush(self) -> None:
        """Nothing waits."""

    def forked(self) -> None:
        """A descriptor in append mode may be shared."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class SyslogSink:
    """A syslog daemon: the local one, or a remote one by UDP or TCP (RFC 3164; over TCP a packet ends in a newline).

    Sockets do not block. What cannot be sent waits, bounded, and a connection that was lost is made anew.
    """

    def __init__(self, where: str) -> None:
        """`where` is `local` or what `parse_syslog` reads, with a numeric host; raises OSError without local daemon."""
        self._is_local = where == SYSLOG_LOCAL
        self._remote = None if self._is_local else parse_syslog(where)
        self._host = "" if self._is_local else socket.gethostname()
        self._pid = os.getpid()
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._cut = b""
        """What is left of a packet of which the connection took a part."""
        self._retry_s = 0.0
        self._sock: socket.socket | None = self._connect()

    @property
    def waiting(self) -> int:
        """Packets not sent yet."""
        return len(self._waiting)

    def write(self, line: Line) -> None:
        """Send, or keep for later."""
        self._waiting.append(syslog_packet(line, self._pid, self._host))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        if self._sock is None:
            if time.monotonic() < self._retry_s:
                return
            try:
                self._sock = self._connect()
            except OSError:
                self._retry_s = time.monotonic() + RECONNECT_S
                return
        try:
            self._send(self._sock)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._drop()
            self._retry_s = time.monotonic() + RECONNECT_S

    def forked(self) -> None:
        """Two processes cannot share a stream of packets, so the copy makes its own connection."""
        self._pid = os.getpid()
        self._waiting.clear()
        self._drop()
        self._retry_s = 0.0

    def close(self) -> None:
        """A last try, then the end."""
        self.flush()
        self._drop()

    def _send(self, sock: socket.socket) -> None:
        is_stream = sock.type == socket.SOCK_STREAM
        while self._cut or self._waiting:
            if not is_stream:
                self._send_datagram(sock, self._waiting[0])
                self._waiting.popleft()
                continue
            if not self._cut:
                self._cut = self._waiting.popleft() + b"\n"
            self._cut = self._cut[sock.send(self._cut) :]

    def _send_datagram(self, sock: socket.socket, packet: bytes) -> None:
        try:
            sock.send(packet)
        except ConnectionRefusedError:
            if self._is_local:
                raise
            sock.send(packet)  # the error was about an earlier packet (udp(7)); this one has not been sent yet

    def _drop(self) -> None:
        self._cut = b""  # the other half of it was for the connection that is gone
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connect(self) -> socket.socket:
        if self._remote is None:
            return _connect_local()
        family = socket.AF_INET6 if ":" in self._remote.host else socket.AF_INET
        kind = socket.SOCK_STREAM if self._remote.protocol == "tcp" else socket.SOCK_DGRAM
        return _connected(family, kind, (self._remote.host, self._remote.port))


def _connect_local() -> socket.socket:
    try:
        return _connected(socket.AF_UNIX, socket.SOCK_DGRAM, LOCAL_SYSLOG)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        return _connected(socket.AF_UNIX, socket.SOCK_STREAM, LOCAL_SYSLOG)  # some daemons listen on a stream


def _connected(family: int, kind: int, address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.connect(address)
    except BlockingIOError:
        pass  # EINPROGRESS: packets wait until it is made
    except OSError:
        sock.close()
        raise
    return sock


class Ring:
    """The last records, in memory; each has a number, so that they can be fetched in pieces."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, Line]] = deque()
        self._characters = 0
        self._size = 0
        self._last = 0

    def resize(self, size: int) -> None:
        """Keep so many from now on; 0 keeps none."""
        self._size = size
        self._trim()

    def add(self, line: Line) -> None:
        """Keep a record instead of the oldest one."""
        self._last += 1
        self._lines.append((self._last, line))
        self._characters += len(line.text)
        self._trim()

    def clear(self) -> None:
        """Forget all."""
        self._lines.clear()
        self._characters = 0

    def after(self, number: int = 0) -> list[tuple[int, Line]]:
        """The records with a higher number, oldest first."""
        return [entry for entry in self._lines if entry[0] > number]

    def _trim(self) -> None:
        while self._lines and (len(self._lines) > self._size or self._characters > MAX_RING_CHARACTERS):
            self._characters -= len(self._lines.popleft()[1].text)
