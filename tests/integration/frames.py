"""Whole Ethernet frames, sent and received by raw sockets in guests, with their VLAN tags."""

from __future__ import annotations

import socket
import struct
from typing import Final

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
_EXPERIMENTAL: Final = 0x88B5
"""An EtherType that nobody answers (IEEE 802)."""
_SOL_PACKET: Final = 263
_PACKET_AUXDATA: Final = 8
_AUXDATA: Final = struct.Struct("=IIIHHHH")
_VLAN_VALID: Final = 0x10
_OUTGOING: Final = 4
MARK: Final = b"minibus:"


def frame(
    text: str, source: str, to: str = BROADCAST, *, tags: tuple[int, ...] = (), kind: int = _EXPERIMENTAL
) -> bytes:
    """One that carries a text, with so many VLAN tags, the outermost first."""
    inner = b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags) + struct.pack("!H", kind)
    return _mac(to) + _mac(source) + inner + (MARK + text.encode() + b";").ljust(60, b"\0")


class Ear:
    """A raw socket that hears texts."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        raw.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)

    def send(self, *frames: bytes) -> None:
        """Send them, in order."""
        for one in frames:
            self.socket.send(one)

    def until(self, last: str) -> list[tuple[str, tuple[int, ...]]]:
        """The texts that come before `last` does, with their tags; what it sent itself is none of them."""
        heard: list[tuple[str, tuple[int, ...]]] = []
        while True:
            data, auxiliary, _, address = self.socket.recvmsg(2048, 256)
            if MARK not in data or address[2] == _OUTGOING:
                continue
            text = data.partition(MARK)[2].partition(b";")[0].decode()
            if text == last:
                return heard
            heard.append((text, (*_stripped(auxiliary), *_tags(data))))


def _stripped(auxiliary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    """The outermost tag, which the kernel takes off and tells beside the frame."""
    for _, kind, value in auxiliary:
        if kind == _PACKET_AUXDATA:
            status, _, _, _, _, vlan, _ = _AUXDATA.unpack_from(value)
            return (vlan & 0xFFF,) if status & _VLAN_VALID else ()
    return ()


def _tags(data: bytes) -> tuple[int, ...]:
    found = []
    offset = 12
    while data[offset : offset + 2] == b"\x81\x00":
        found.append(struct.unpack_from("!H", data, offset + 2)[0] & 0xFFF)
        offset += 4
    return tuple(found)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
