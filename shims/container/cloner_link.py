"""The warden's side of the cloner: starts it, hands it scripts, hears the pids."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from bus.logs.logs import Log
from shims.container.cloner import ANSWER, FILTER, GUARDED, MAX_PACKET, SCRIPT
from shims.container.loop import Loop
from shims.container.record import Container
from shims.linux.mount import open_read_only

_ROOT: Final = str(Path(__file__).parents[2])
# Isolated and without site-packages: the smaller the process, the cheaper each clone of it.
_PROGRAM: Final = """\
import sys
sys.path.insert(0, sys.argv[1])
from shims.container.cloner import main
main(int(sys.argv[2]))
"""


class ClonerLink:
    """`on_cloned(container, pid, errno)` is called once for each `clone`, with pid 0 if there is no process."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        on_cloned: Callable[[Container, int, int], None],
        known_children: Callable[[], set[int]],
    ) -> None:
        self._loop = loop
        self._log = log
        self._on_cloned = on_cloned
        self._known_children = known_children
        self._filter = b""
        self._pending: deque[Container] = deque()
        self._sock: socket.socket | None = None
        self._pid = 0

    def load_filter(self, code: bytes) -> None:
        """Have new containers filtered by this program; nothing for none."""
        self._filter = code
        if self._sock is not None and code:
            self._sock.send(FILTER + code)

    def start(self) -> None:
        """Start the process, unless it runs; it takes some 30 ms, for which nobody waits."""
        if self._sock is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            arguments = [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(theirs.fileno())]
            # Not posix_spawn: glibc's leaves two signals ignored (32 and 33), and every container would inherit that.
            with self._executable() as program:
                self._pid = os.fork()
                if self._pid == 0:
                    _become(program, arguments)
        self._sock = ours
        self._loop.watch(ours.fileno(), lambda _: self._read())
        self.load_filter(self._filter)

    @contextlib.contextmanager
    def _executable(self) -> Iterator[int | str]:
        """What to execute: this interpreter, but as a file that cannot be written to.

        An image whose init is a link to /proc/self/exe executes what the process that becomes its init has executed
        before; and who executes a file can get it opened for writing, which for an interpreter would be the host.
        """
        try:
            program = open_read_only(sys.executable)
        except OSError as error:
            self._log.warn("interpreter_exposed", error=error.strerror)
            yield sys.executable
            return
        try:
            yield program
        finally:
            os.close(program)

    def clone(self, container: Container, script: bytes, report_in: int, gate_out: int, *, guarded: bool) -> None:
        """Have `container` cloned; the descriptors can be closed afterwards. Raises OSError.

        If `guarded`, its network is one of the guests' user namespace, to which the script has to go over.
        """
        self.start()
        assert self._sock is not None  # noqa: S101  for the type checker: `start` has seen to it
        fds = [report_in, gate_out]
        kind = GUARDED if guarded else SCRIPT
        packet = kind + script
        with contextlib.ExitStack() as opened:
            if len(packet) > MAX_PACKET:
                fds.append(opened.enter_context(_in_memory(script)).fileno())
                packet = kind
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            try:
                self._sock.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
            except (BrokenPipeError, ConnectionResetError):  # it has just died
                self._lost()
                self.start()
                self._sock.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
        self._pending.append(container)

    def kill(self) -> None:
        """End a process that hangs; whatever it has to clone fails as soon as its end is seen."""
        if self._sock is not None:
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process; harmless when repeated."""
        if self._sock is not None:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _read(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(ANSWER.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            pid, number = ANSWER.unpack(data)
            self._on_cloned(self._pending.popleft(), pid, number)

    def _lost(self) -> None:
        """It has died: whatever it was about to clone has failed. The next request starts a new one."""
        self._log.error("cloner_died", pid=self._pid, pending=len(self._pending))
        self.close()
        self._end_strangers()
        pending, self._pending = self._pending, deque()
        for container in pending:
            self._on_cloned(container, 0, errno.EPIPE)

    def _end_strangers(self) -> None:
        """Kill children whose pids were never told."""
        with contextlib.suppress(OSError):
            children = Path("/proc/thread-self/children").read_text().split()
            for pid in {int(child) for child in children} - self._known_children():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _become(program: int | str, arguments: list[str]) -> NoReturn:
    try:
        os.execve(program, arguments, os.environ)  # noqa: S606  there is no shell
    finally:
        os._exit(127)


def _in_memory(content: bytes) -> BinaryIO:
    """A file without a name that holds `content`."""
    file = os.fdopen(os.memfd_create("script", os.MFD_CLOEXEC), "w+b")
    file.write(content)
    file.flush()
    return file
