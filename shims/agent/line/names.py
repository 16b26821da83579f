"""Addresses of hosts by /etc/hosts and DNS (RFC 1035), asked without blocking.

A program that stands alone has no name service of the system's library: that one loads others when it is asked.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from shims.agent.loop import Loop, Timer

Answer = Callable[[str, str], None]
"""Called with the address, or with what went wrong."""

_PORT = 53
_TRY_S = 2.0
_TRIES = 3
_TYPE_A, _TYPE_AAAA, _CLASS_IN = 1, 28, 1
_SIZES = {_TYPE_A: (socket.AF_INET, 4), _TYPE_AAAA: (socket.AF_INET6, 16)}
_MAX_POINTERS = 64


def literal(host: str) -> str:
    """`host` if it is an address, else nothing."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return host
    return ""


def resolve(loop: Loop, host: str, answer: Answer) -> None:
    """Ask for the address of `host`; the answer comes later, or at once if nobody needs to be asked."""
    address = literal(host) or _from_hosts(host, _text("/etc/hosts"))
    if address:
        answer(address, "")
        return
    servers = nameservers(_text("/etc/resolv.conf"))
    try:
        questions = [query(host, kind, number) for number, kind in enumerate(_SIZES, 1)]
    except ValueError:
        answer("", f"`{host}` is no name of a host")
        return
    if not servers:
        answer("", f"the address of `{host}` is not known: /etc/hosts has it not, and /etc/resolv.conf names no server")
        return
    _Question(loop, host, servers, questions, answer).ask()


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def _from_hosts(host: str, text: str) -> str:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if host.lower() in (word.lower() for word in words[1:]) and literal(words[0]):
            return words[0]
    return ""


def nameservers(text: str) -> list[str]:
    """Of a resolv.conf(5)."""
    lines = [line.split() for line in text.splitlines()]
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and literal(words[1])]


def query(host: str, kind: int, number: int) -> bytes:
    """A question for the addresses of one kind; raises ValueError for what is no name; no others than ASCII."""
    labels = host.rstrip(".").encode("ascii").split(b".")
    if not all(0 < len(label) < 64 for label in labels) or len(host) > 253:
        raise ValueError(host)
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", kind, _CLASS_IN)


def address_in(packet: bytes, kind: int) -> str:
    """The first address of this kind in a reply, empty if there is none; raises ValueError for what is no reply."""
    try:
        _, _, questions, answers, _, _ = struct.unpack_from("!6H", packet)
        at = 12
        for _ in range(questions):
            at = _skip_name(packet, at) + 4
        for _ in range(answers):
            at = _skip_name(packet, at)
            found, _, _, length = struct.unpack_from("!HHIH", packet, at)
            at += 10
            family, size = _SIZES[kind]
            if found == kind and length == size and len(packet) >= at + size:
                return socket.inet_ntop(family, packet[at : at + size])
            at += length
    except (struct.error, IndexError):
        raise ValueError("no reply") from None
    return ""


def _skip_name(packet: bytes, at: int) -> int:
    for _ in range(_MAX_POINTERS * 2):
        length = packet[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if not length:
            return at
    raise ValueError("a name without an end")


class _Question:
    """One name, asked of several servers in turn until one answers."""

    def __init__(self, loop: Loop, host: str, servers: list[str], questions: list[bytes], answer: Answer) -> None:
        self._loop, self._host, self._servers, self._answer = loop, host, servers, answer
        self._id = int.from_bytes(os.urandom(1), "big") << 8
        self._questions = [struct.pack("!H", self._id | question[1]) + question[2:] for question in questions]
        self._none: set[int] = set()
        self._tries = 0
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None

    def ask(self) -> None:
        """Once more, the next server."""
        self._close()
        if self._tries == _TRIES * len(self._servers):
            self._answer("", f"the address of `{self._host}` is not known: no name server answers")
            return
        server = self._servers[self._tries % len(self._servers)]
        self._tries += 1
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._socket.connect((server, _PORT))
            for question in self._questions:
                self._socket.send(question)
            self._loop.on_readable(self._socket.fileno(), self._readable)
        except OSError:
            pass  # the next server, after the same time
        self._timer = self._loop.call_later(_TRY_S / len(self._servers), self.ask)

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            packet = self._socket.recv(4096)
            number = int.from_bytes(packet[:2], "big") - self._id
            kind = list(_SIZES)[number - 1] if number in (1, 2) else 0
            if not kind:
                return
            address = address_in(packet, kind)
        except OSError:
            self._loop.forget(self._socket.fileno())
            return
        except ValueError:
            return
        self._none.add(kind)
        if address or len(self._none) == len(_SIZES):
            self._close()
            self._answer(address, "" if address else f"`{self._host}` has no address")

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
