"""The warden: parent, watcher and reaper of all containers of one base directory.

One thread, no asyncio, no ZeroMQ: it must be able to clone at any time. It does nothing that it is not asked to, keeps
in a journal what it owns, and outlives the node and every actor while it owns a living container.

    python -m shims.container.warden --base DIR
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from bus import descriptors
from bus.errors import ConflictError
from bus.lock import FileLock
from bus.logs.logs import OUTLET, Log
from bus.node import notify
from shims.cgroups import spare
from shims.container.cloner_link import ClonerLink
from shims.container.connection import Connection
from shims.container.holdings import Holdings
from shims.container.journal import Journal
from shims.container.lifecycle import Lifecycle
from shims.container.loop import Loop
from shims.container.node_link import NodeLink
from shims.container.protocol import (
    AnyAnswer,
    AnyCall,
    CreateContainer,
    ForgetContainer,
    FreezeContainer,
    KeepConsole,
    KillContainer,
    ListContainers,
    OpenConsole,
    Shutdown,
    StartContainer,
)
from shims.container.record import Asker, Container
from shims.container.recovery import recover
from shims.container.setup.filter_compiler import FilterCompiler
from shims.container.setup.plan import Planner
from shims.container.setup.user_limits import limits_inside, read_core_pattern
from shims.linux.capability import CapabilityDrop
from shims.linux.inode_flags import spread_subdirectories

BACKLOG: Final = 64
_LOCK_PATIENCE_S: Final = 0.5
_PAUSE_S: Final = 0.5
"""Between attempts to take a client while descriptors have run out."""
_REFUSED: Final = 1


class Warden:
    """Listens, decodes, dispatches. `run` returns when there is nothing left to do."""

    def __init__(
        self,
        base: Path,
        control: socket.socket | None,
        listener: socket.socket,
        lanes: socket.socket,
        compiler: FilterCompiler,
    ) -> None:
        self.log = Log("warden")
        self._loop = Loop()
        self._listener = listener
        self._lanes = lanes
        self._compiler = compiler
        self._planner: Planner | None = None
        descriptors.raise_limit()  # the node has done so, but this may be run by hand
        self._connections: set[Connection] = set()
        self._stopping = False
        """Told to stop, which it does once no container lives and no client is connected."""
        self._dismissed = False
        """Told to by a client, for whose departure it does not wait then."""
        self._holdings = Holdings(self._loop, Journal(base / "state" / "warden"), self.log)
        self._holdings.announce = self._announce
        self._lifecycle = Lifecycle(self._holdings, self._get_planner, self._make_cloner)
        self._node = NodeLink(control, self._loop, self, inbox=lambda: self._lifecycle.queued, log=self.log)
        self.log.outlet.relay = self._node.record
        self._lifecycle.ending.expects_statuses = lambda: self._node.is_up
        self._notifier = notify.take()
        self._wake, self._waker = socket.socketpair()

    def run(self) -> int:
        """Serve; returns the exit status."""
        self._catch_signals()
        recover(self._holdings, self._lifecycle)
        self._listener.setblocking(False)
        self._lanes.setblocking(False)
        self._listen_again()
        self._loop.watch(self._compiler.fileno(), lambda _: self._take_filter())
        self._node.ready()
        self._notifier.ready(f"{self._holdings.living} containers live")
        self._keep_alive()
        self.log.info("ready", pid=os.getpid(), living=self._holdings.living)
        while not self._may_end():
            self._loop.run_once()
        self._close()
        return 0

    # --- who looks after it

    def _keep_alive(self) -> None:
        """Tell a service manager, where there is no node."""
        if self._notifier.watchdog_s:
            self._notifier.alive(f"{self._holdings.living} containers live")
            self._loop.call_later(self._notifier.watchdog_s / 3, self._keep_alive)

    def _take_lane(self) -> None:
        """A node has found this warden running, and will look after it as after one of its own."""
        if (sock := self._accepted(self._lanes)) is not None:
            self._stopping = self._dismissed
            self._node.adopted(sock)
            self.log.info("adopted_by_node", living=self._holdings.living)

    def reaped(self, pid: int, status: int) -> None:
        """See `node_link.Node`."""
        self._lifecycle.ending.reaped(pid, status)

    def stop(self) -> None:
        """See `node_link.Node`; also on SIGTERM."""
        self._stopping = True
        if self._holdings.has_living:
            self.log.info("staying", living=self._holdings.living)
            self._node.staying()

    # --- clients

    def _listen_again(self) -> None:
        self._loop.watch(self._listener.fileno(), lambda _: self._accept())
        self._loop.watch(self._lanes.fileno(), lambda _: self._take_lane())

    def _accept(self) -> None:
        if (sock := self._accepted(self._listener)) is not None:
            self._connections.add(Connection(sock, self._loop, self._handle, self._connections.discard))

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        """Whoever stands at the door; None if it has gone again, or has to wait for a descriptor to become free."""
        try:
            return listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            pass
        except OSError:
            for one in (self._listener, self._lanes):
                self._loop.unwatch(one.fileno())
            self._loop.call_later(_PAUSE_S, self._listen_again)
        return None

    def _announce(self, notice: AnyAnswer) -> None:
        for connection in tuple(self._connections):
            connection.send(notice)

    def _handle(self, connection: Connection, call: AnyCall) -> None:
        asker = Asker(connection, call.call)
        try:
            self._dispatch(asker, call)
        except Exception as error:
            # A bug in one call must not take down the owner of a thousand containers.
            self.log.exception("call_failed", error, call=type(call).__name__)
            asker.refuse(f"the warden failed in {type(call).__name__}: {error}")

    def _dispatch(self, asker: Asker, call: AnyCall) -> None:
        life = self._lifecycle
        match call:
            case CreateContainer(spec=spec):
                life.create(asker, spec)
            case ListContainers():
                life.list(asker)
            case ForgetContainer(guest_id=guest_id):
                life.forget(asker, guest_id)
            case Shutdown():
                self._shut_down(asker)
            case StartContainer() | FreezeContainer() | KillContainer() | OpenConsole() | KeepConsole():
                container = self._holdings.containers.get(call.guest_id)
                if container is None:
                    asker.refuse(f"there is no container {call.guest_id}")
                elif isinstance(call, StartContainer):
                    life.start(asker, container)
                elif isinstance(call, FreezeContainer):
                    life.freeze(asker, container)
                elif isinstance(call, KillContainer):
                    life.kill(asker, container)
                elif isinstance(call, KeepConsole):
                    life.keep_console(asker, container, asker.connection.take_descriptor())
                else:
                    life.open_console(asker, container)

    def _shut_down(self, asker: Asker) -> None:
        if living := self._holdings.living:
            asker.refuse(f"the warden still owns {living} living container{'s' if living > 1 else ''}")
            return
        asker.done()
        self._stopping = self._dismissed = True

    # --- beginning and end

    def _take_filter(self) -> None:
        self._get_planner()

    def _get_planner(self) -> Planner:
        if self._planner is None:
            self._loop.unwatch(self._compiler.fileno())
            program, reason = self._compiler.result()
            if reason:
                self.log.warn("no_seccomp", reason=reason)
            self._cloner.load_filter(program)
            limits = limits_inside(descriptors.limit_before(), read_core_pattern())
            self._planner = Planner(CapabilityDrop(), reason, limits)
        return self._planner

    def _make_cloner(self, on_cloned: Callable[[Container, int, int], None]) -> ClonerLink:
        self._cloner = ClonerLink(self._loop, self.log, on_cloned, self._own_children)
        self._cloner.start()
        return self._cloner

    def _own_children(self) -> set[int]:
        return {one.pid for one in self._holdings.containers.values() if one.is_child and one.pidfd >= 0}

    def _catch_signals(self) -> None:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._loop.watch(self._wake.fileno(), self._drain_wake)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _drain_wake(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def _may_end(self) -> bool:
        """Told to stop, without containers, and without a client: a new node's actors may have taken it over."""
        is_wanted = bool(self._connections) and not self._dismissed
        return self._stopping and not self._holdings.has_living and not is_wanted

    def _close(self) -> None:
        self._notifier.stopping()
        if self._planner is None:
            self._compiler.result()
        signal.set_wakeup_fd(-1)
        for connection in tuple(self._connections):
            connection.close()
        self._node.close()
        self._cloner.close()
        self._loop.close()
        self._holdings.journal.close()
        for sock in (self._wake, self._waker, self._listener, self._lanes):
            sock.close()


def run(base: Path, control: socket.socket | None, listener: socket.socket | None = None) -> int:
    """Be the warden of `base`; returns the exit status.

    `control` is the lane to the node that forked this process, `listener` a bound socket for the clients; without them
    it serves without a node and listens on `<base>/run/warden`. A later node connects to `<base>/run/warden.lane`.
    """
    with contextlib.suppress(PermissionError):  # already the leader of a session
        os.setsid()
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whatever is blocked here would be in every container
    try:
        spare.keep()
        compiler = FilterCompiler()
        lock = _take_lock(base)
        spread_subdirectories(base)
        path, lanes = base / "run" / "warden", base / "run" / "warden.lane"
        warden = Warden(base, control, listener or _listen(path), _listen(lanes), compiler)
    except (ConflictError, OSError) as error:
        return _refuse(control, _sentence(base, error))
    gc.collect()
    gc.freeze()
    gc.disable()
    status = warden.run()
    for one in (path, lanes):
        with contextlib.suppress(OSError):
            one.unlink()
    lock.release()
    return status


def _take_lock(base: Path) -> FileLock:
    """The lock of this base. A killed warden's last clones may hold a copy of its lock for a moment, so try again."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return FileLock(base / "run" / "warden.lock", "a warden")
        except ConflictError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _listen(path: Path) -> socket.socket:
    """A socket that only this user can reach: its mode, and that of its directory."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # left by a killed warden; the lock says that no other is alive
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _sentence(base: Path, error: ConflictError | OSError) -> str:
    if isinstance(error, OSError):
        return f"the warden of {base} cannot start: {error.filename or 'system call'}: {error.strerror}"
    return str(error)


def _refuse(control: socket.socket | None, message: str) -> int:
    NodeLink(control, Loop(), _Nobody(), inbox=lambda: 0, log=Log("warden")).refuse(message)
    sys.stderr.write(f"{message}\n")
    return _REFUSED


class _Nobody:
    """Handles nothing, for a link that only says one thing."""

    def reaped(self, pid: int, status: int) -> None:
        """See `node_link.Node`."""

    def stop(self) -> None:
        """See `node_link.Node`."""


def main() -> int:
    """Run a warden by hand."""
    from bus.logs.log_settings import from_environment
    from bus.node.by_hand import base_from_arguments

    base = base_from_arguments("python -m shims.container.warden", "Run the warden of a base directory.")
    try:
        OUTLET.configure(from_environment(os.environ))
    except ValueError as error:
        return _refuse(None, str(error))
    return run(base, None)


if __name__ == "__main__":
    sys.exit(main())
