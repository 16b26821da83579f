"""Where agents come from: a socket in each container, a serial port of each KVM guest, and TCP ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from actors.cc.inputs import Listened
from actors.cc.server import Server
from actors.cc.sessions.lines import Line
from actors.cc.sessions.sessions import Sessions
from bus.messages.vm import GuestKind

STRANGERS: Final = 4
"""Lines of one socket in a guest on which nobody has said who he is."""
TCP_STRANGERS: Final = 64
ACCEPTS: Final = 20
"""That one socket takes in a second."""
REDIAL_MAX_S: Final = 5.0
BACKLOG: Final = 16


class Point:
    """A socket that is listened on."""

    def __init__(self, sock: socket.socket, namespace: str, vm_id: int | None) -> None:
        self.socket = sock
        self.namespace = namespace
        self.vm_id = vm_id
        self.lines: set[Line] = set()
        self.accepted = 0
        """In this second."""
        self.resting = False


class Dial:
    """A serial port that is dialled."""

    def __init__(self, namespace: str, vm_id: int, path: Path) -> None:
        self.namespace = namespace
        self.vm_id = vm_id
        self.path = path
        self.line: Line | None = None
        self.dialling = False
        self.closed = False
        self.pause_s = 1.0
        self.next_s = 0.0


class Listeners:
    """See the module."""

    def __init__(self, server: Server, sessions: Sessions, base: Path) -> None:
        self._server = server
        self._sessions = sessions
        self._base = base
        self._loop = asyncio.get_running_loop()
        self._points: dict[int, Point] = {}
        """By id of the VM."""
        self._ports: dict[int, Point] = {}
        self._dials: dict[int, Dial] = {}
        self._missing: set[int] = set()
        """VMs whose socket could not be made yet."""

    def close(self) -> None:
        """The process ends; sockets stay where they are, and the next one puts its own in their place."""
        for point in (*self._points.values(), *self._ports.values()):
            self._close(point)
        for dial in self._dials.values():
            dial.closed = True
        self._points.clear()
        self._ports.clear()
        self._dials.clear()

    # --- VMs

    def reline(self, vm_ids: tuple[int, ...]) -> None:
        """See that VMs that live have a line, and others have none."""
        for vm_id in vm_ids:
            key = self._server.table.vms.get(vm_id)
            guest = self._server.table.guest(key) if key else None
            if guest is None or not guest.vm.live:
                self._drop(vm_id)
            elif guest.vm.kind is GuestKind.CONTAINER:
                self._open_point(guest.vm.namespace, vm_id)
            elif vm_id not in self._dials:
                path = self._base / str(vm_id) / "cc"
                self._dials[vm_id] = Dial(guest.vm.namespace, vm_id, path)

    def _open_point(self, namespace: str, vm_id: int) -> None:
        if vm_id in self._points:
            return
        directory = self._base / str(vm_id) / "cc"
        try:
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            sock = _bound(directory / "cc")
        except OSError as error:
            if vm_id not in self._missing:
                self._server.log.info("backchannel_waits", vm_id=vm_id, error=str(error))
            self._missing.add(vm_id)
            return
        self._missing.discard(vm_id)
        point = self._points[vm_id] = Point(sock, namespace, vm_id)
        self._loop.add_reader(sock, self._accept, point)

    def _drop(self, vm_id: int) -> None:
        self._missing.discard(vm_id)
        point = self._points.pop(vm_id, None)
        if point is not None:
            self._close(point)
            with contextlib.suppress(OSError):
                (self._base / str(vm_id) / "cc" / "cc").unlink()
        dial = self._dials.pop(vm_id, None)
        if dial is not None:
            dial.closed = True
            if dial.line is not None:
                dial.line.close("the VM has ended")
        for line in tuple(self._sessions.lines):
            if line.vm_id == vm_id:
                line.close("the VM has ended")

    def _close(self, point: Point) -> None:
        self._loop.remove_reader(point.socket)
        point.socket.close()

    # --- TCP

    def listen(self, namespace: str, port: int, address: str, msg_id: str) -> None:
        """Take agents of a namespace at a port; the answer is fed if somebody waits for it."""
        error = ""
        if port not in self._ports:
            try:
                sock = _bound_tcp(address, port)
            except OSError as failure:
                where = f"{address}:{port}" if address else f"port {port}"
                why = os.strerror(failure.errno) if failure.errno else str(failure)  # the text has the address again
                error = f"cannot listen on {where}: {why}"
            else:
                point = self._ports[port] = Point(sock, namespace, None)
                self._loop.add_reader(sock, self._accept, point)
        if msg_id:
            self._server.feed(Listened(msg_id=msg_id, error=error))
        elif error:
            self._server.log.warn("not_listening", error=error)

    def unlisten(self, port: int) -> None:
        """No more; lines that stand go on."""
        point = self._ports.pop(port, None)
        if point is not None:
            self._close(point)

    # --- lines

    def _accept(self, point: Point) -> None:
        limit = STRANGERS if point.vm_id is not None else TCP_STRANGERS
        point.lines = {line for line in point.lines if not line.gone}
        for _ in range(4):
            if point.accepted >= (ACCEPTS if point.vm_id is not None else 10 * ACCEPTS):
                self._rest(point)
                return
            try:
                sock, address = point.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptors, or whoever came has gone again
                self._server.log.warn("not_accepted", error=str(error))
                self._rest(point)
                return
            point.accepted += 1
            sock.setblocking(False)
            crowd = [line for line in point.lines if line.key is None and not line.gone]
            if len(crowd) >= limit:
                crowded_out(crowd).close("it has said nothing, and others come")
            peer = "" if point.vm_id is not None else str(address[0])
            line = Line(self._sessions, namespace=point.namespace, vm_id=point.vm_id, peer=peer)
            point.lines.add(line)
            self._server.spawn(self._connect(sock, line), name="accept")

    async def _connect(self, sock: socket.socket, line: Line) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: line, sock)
        except OSError as error:
            sock.close()
            line.close(str(error))

    def _rest(self, point: Point) -> None:
        """Until the next second: others wait in the kernel's queue, or are turned away by it."""
        point.resting = True
        self._loop.remove_reader(point.socket)

    def tick(self, now_s: float) -> None:
        """Once a second."""
        for point in (*self._points.values(), *self._ports.values()):
            point.accepted = 0
            if point.resting:
                point.resting = False
                self._loop.add_reader(point.socket, self._accept, point)
        if self._missing:
            self.reline(tuple(self._missing))
        for dial in self._dials.values():
            if not dial.dialling and (dial.line is None or dial.line.gone) and now_s >= dial.next_s:
                dial.dialling = True
                self._server.spawn(self._dial(dial), name=f"dial {dial.vm_id}")

    async def _dial(self, dial: Dial) -> None:
        line = Line(self._sessions, namespace=dial.namespace, vm_id=dial.vm_id, dialled=True)
        try:
            await self._loop.create_unix_connection(lambda: line, str(dial.path))
        except OSError:
            dial.pause_s = min(dial.pause_s * 2, REDIAL_MAX_S)
        else:
            dial.pause_s = 1.0
            dial.line = line
            if dial.closed:
                line.close("the VM has ended")
        finally:
            dial.dialling = False
            dial.next_s = self._loop.time() + dial.pause_s


def crowded_out(crowd: Sequence[Line]) -> Line:
    """Which of several lines, on which nobody has said who he is, makes room: the oldest from where most come."""
    peers = Counter(line.peer for line in crowd)
    most = max(peers.values())
    return min((line for line in crowd if peers[line.peer] == most), key=lambda line: line.opened_s)


def _bound(path: Path) -> socket.socket:
    """A listening unix socket in place of what was there; raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock.bind(str(path))
        os.chmod(path, 0o600)  # noqa: PTH101 - the guest's root; others inside have no part in it
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bound_tcp(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address or not address else socket.AF_INET
    if not address and not socket.has_dualstack_ipv6():
        family = socket.AF_INET
    sock = socket.create_server(
        (address, port),
        family=family,
        backlog=4 * BACKLOG,
        dualstack_ipv6=family is socket.AF_INET6 and not address,
    )
    sock.setblocking(False)
    return sock
