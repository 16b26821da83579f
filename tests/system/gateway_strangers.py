"""What strangers do to the ports of a gateway, and those who only come and go: see `gateway_abuser`."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator

import msgspec
import zmq

from bus.remote import Remote, arm
from bus.settings.listen_address import Endpoint

CONNECTIONS = 1_000
SOURCES = 100
"""Addresses of loopback from which they come: one alone is soon told to wait."""
SOCKETS = 40
ROUND_S = 0.01
CHUNK = 65_536
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\x00") + bytes(32)
"""Of ZMTP 3.1 (ZeroMQ RFC 37)."""
GIB = b"\x02" + (1 << 30).to_bytes(8, "big")
"""The beginning of a frame of a gibibyte."""

Count = dict[str, int]


def source(number: int) -> str:
    """An address to come from, which no other abuser has."""
    return f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{1 + number % SOURCES}"


def raw(endpoint: Endpoint, number: int, offset: int = 0) -> socket.socket:
    """A TCP connection that has begun, from one of several addresses."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((source(number), 0))
    if (error := sock.connect_ex((endpoint.host, endpoint.port + offset))) not in (0, errno.EINPROGRESS):
        raise OSError(error, os.strerror(error))
    return sock


def hello(remote: Remote) -> bytes:
    """The first that a client says in CURVE, whole and right: what a real one sends to somebody who greets it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        arm(client, remote)
        client.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(GREETING)
            heard = b""
            while len(heard) < 64 + 202:
                heard += accepted.recv(CHUNK)
        client.close()
    context.term()
    return heard[64 : 64 + 202]


def held(remote: Remote, said: bytes) -> Iterator[Count]:
    """A thousand connections that say so much and no more; those that are closed are opened again."""
    with selectors.DefaultSelector() as waiting:
        opened = 0
        try:
            while True:
                while len(waiting.get_map()) < CONNECTIONS:
                    sock = raw(remote.endpoint, opened, opened // SOURCES % 2)
                    waiting.register(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if said else 0))
                    opened += 1
                for key, events in waiting.select(ROUND_S):
                    assert isinstance(key.fileobj, socket.socket)
                    _held_on(waiting, key.fileobj, events, said)
                yield {"opened": opened, "open": len(waiting.get_map())}
        finally:
            for key in list(waiting.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]


def _held_on(waiting: selectors.BaseSelector, sock: socket.socket, events: int, said: bytes) -> None:
    try:
        if events & selectors.EVENT_WRITE:
            sock.send(said)
            waiting.modify(sock, selectors.EVENT_READ)
        elif not sock.recv(CHUNK):
            raise ConnectionError
    except OSError:
        waiting.unregister(sock)
        sock.close()


def silent(remote: Remote) -> Iterator[Count]:
    """Connections that say nothing."""
    return held(remote, b"")


def halves(remote: Remote) -> Iterator[Count]:
    """Handshakes that are begun and never ended."""
    return held(remote, GREETING + hello(remote))


def announced(remote: Remote) -> Iterator[Count]:
    """A gibibyte is announced, at every place of a handshake where it can be."""
    whole = GREETING + hello(remote)
    sayings = (GIB, GREETING + GIB, GREETING + b"\x06" + GIB[1:], whole + GIB, whole + b"\x06" + GIB[1:])
    return _hit(remote, lambda number: sayings[number % len(sayings)] + bytes(CHUNK))


def garbage(remote: Remote) -> Iterator[Count]:
    """Bytes by chance, at speed."""
    return _hit(remote, lambda number: secrets.token_bytes(CHUNK))


def _hit(remote: Remote, says: Callable[[int], bytes]) -> Iterator[Count]:
    """New connections at speed, each of which says something and waits for what comes of it."""
    opened = closed = 0
    socks: list[socket.socket] = []
    try:
        while True:
            socks = [raw(remote.endpoint, opened + extra, extra % 2) for extra in range(SOCKETS)]
            time.sleep(ROUND_S)
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(says(opened))
                opened += 1
            time.sleep(ROUND_S)
            for sock in socks:
                with contextlib.suppress(BlockingIOError):
                    closed += _is_closed(sock)
                sock.close()
            yield {"opened": opened, "closed": closed}
    finally:
        for sock in socks:
            sock.close()


def _is_closed(sock: socket.socket) -> bool:
    try:
        while sock.recv(CHUNK):
            pass
    except ConnectionError:
        pass
    return True


def strangers(remote: Remote) -> Iterator[Count]:
    """Handshakes with keys that nobody knows, from many addresses, each tried again as soon as it was refused."""
    return knocking(lambda: _with_keys(remote, *(part.decode() for part in zmq.curve_keypair())))


def known(remote: Remote) -> Iterator[Count]:
    """The same with one key, e.g. one that was stolen and revoked."""
    return knocking(lambda: remote)


def _with_keys(remote: Remote, public: str, secret: str) -> Remote:
    return remote._replace(keys=msgspec.structs.replace(remote.keys, public=public, secret=secret))


def knocking(chosen: Callable[[], Remote]) -> Iterator[Count]:
    """Handshakes at speed: whoever is refused, which ends a socket of ZeroMQ, comes again with another one."""
    opened = refused = let_in = 0
    while True:
        with zmq.Context() as context, contextlib.ExitStack() as closing:
            knocks = [_Knock(context, chosen(), opened + number) for number in range(SOCKETS)]
            for knock in knocks:
                closing.callback(knock.close)
            opened += SOCKETS
            deadline_s = time.monotonic() + ROUND_S * 10
            while time.monotonic() < deadline_s and not all([knock.event() for knock in knocks]):
                time.sleep(ROUND_S / 10)
            refused += sum(knock.event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH for knock in knocks)
            let_in += sum(knock.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED for knock in knocks)
        yield {"opened": opened, "refused": refused, "let_in": let_in}


class _Knock:
    """One handshake."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], remote: Remote, number: int) -> None:
        self._event = 0
        self._sock = context.socket(zmq.DEALER)
        arm(self._sock, remote)
        self._sock.setsockopt(zmq.IPV6, 0)
        self._sock.monitor(f"inproc://{number}", zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.connect(f"inproc://{number}")
        self._sock.connect(remote.requests.replace("tcp://", f"tcp://{source(number)}:0;"))

    def event(self) -> int:
        """What became of it; 0 while that is not known."""
        if not self._event and self._monitor.poll(0):
            self._event = int.from_bytes(self._monitor.recv_multipart()[0][:2], sys.byteorder)
        return self._event

    def close(self) -> None:
        """Give up."""
        self._monitor.close(linger=0)
        self._sock.close(linger=0)
