"""The DHCP client of host taps, against a server that sends rubbish before it answers."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from shims.network.dnsmasq import find_place
from tests.integration.frames import BROADCAST

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
TAG = f"{os.getpid() % 46656:03x}"
NETNS, HERE, THERE = f"mbn{TAG}", f"mba{TAG}", f"mbb{TAG}"
COOKIE = b"\x63\x82\x53\x63"
WAIT_S = 20.0
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def ip(*words: str) -> str:
    """What ip(8) says; it must succeed."""
    return subprocess.run(("ip", *words), capture_output=True, text=True, check=True).stdout


class Server:
    """Sees all frames of the client, and sends what it likes."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        raw.settimeout(WAIT_S)

    def heard(self, kind: int) -> bytes:
        """The next message of this kind."""
        while True:
            frame = self._raw.recv(4096)
            if COOKIE + bytes([53, 1, kind]) in frame:
                return frame[42:]

    def send(self, payload: bytes) -> None:
        """From the port of a server to that of a client."""
        head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0)
        head += socket.inet_aton("10.91.0.1") + b"\xff" * 4
        total = sum(struct.unpack("!10H", head))
        head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
        datagram = struct.pack("!HHHH", 67, 68, 8 + len(payload), 0) + payload
        source = bytes.fromhex(Path(f"/sys/class/net/{HERE}/address").read_text().strip().replace(":", ""))
        self._raw.send(bytes.fromhex(BROADCAST.replace(":", "")) + source + b"\x08\x00" + head + datagram)

    def reply(self, message: bytes, options: bytes, address: str) -> None:
        """Answer a message of the client's."""
        self.send(
            struct.pack("!BBBB", 2, 1, 6, 0)
            + message[4:8]
            + bytes(8)
            + socket.inet_aton(address)
            + socket.inet_aton("10.91.0.1")
            + bytes(4)
            + message[28:44]
            + bytes(192)
            + COOKIE
            + options
        )

    def give(self, address: str, mask: str) -> None:
        """Offer an address and agree to it."""
        self.answer(DISCOVER, OFFER, address, mask)
        self.answer(REQUEST, ACK, address, mask)

    def answer(self, kind: int, with_kind: int, address: str, mask: str) -> None:
        """Answer the next message of a kind, with a router and a name server."""
        options = bytes([53, 1, with_kind, 54, 4, 10, 91, 0, 1, 51, 4, 0, 0, 14, 16, 1, 4]) + socket.inet_aton(mask)
        options += bytes([3, 4, 10, 91, 0, 1, 6, 4, 10, 91, 0, 1, 255])
        self.reply(self.heard(kind), options, address)


@contextmanager
def wire() -> Iterator[Server]:
    """A network namespace for the client and an interface for the server."""
    ip("netns", "add", NETNS)
    try:
        ip("link", "add", HERE, "type", "veth", "peer", "name", THERE, "netns", NETNS)
        ip("link", "set", HERE, "up")
        ip("-netns", NETNS, "link", "set", THERE, "up")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:
            raw.bind((HERE, 3))
            yield Server(raw)
        ip(
            "link", "delete", HERE
        )  # the end of a namespace is not waited for by anybody, and the next test makes another
    finally:
        ip("netns", "delete", NETNS)


@contextmanager
def client(file: Path) -> Iterator[IO[bytes]]:
    """A client; what it tells. It ends when its input does."""
    argv = ["ip", "netns", "exec", NETNS, sys.executable, "-m", "shims.network.dhcp_client", THERE, str(file)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout
        process.stdin.close()
        process.wait(WAIT_S)


def told(output: IO[bytes]) -> dict[str, str]:
    """The next line of a client."""
    assert select.select([output], [], [], WAIT_S)[0], "it says nothing"
    found: dict[str, str] = json.loads(output.readline())
    return found


def test_rubbish_does_not_keep_it_from_its_lease(base_dir: Path) -> None:
    chance = random.Random(7)
    file = base_dir / "lease"
    with wire() as server:
        with client(file) as output:
            message = server.heard(DISCOVER)
            for length in range(0, 300, 2):
                rubbish = chance.randbytes(length)
                server.send(rubbish)
                server.reply(message, rubbish, "10.91.0.66")
            server.give("10.91.0.5", "255.255.255.0")
            assert told(output) == {"address": "10.91.0.5/24"}
        routes = ip("-netns", NETNS, "route").split("\n")
        assert [line.strip() for line in routes if line] == [
            f"10.91.0.0/24 dev {THERE} proto kernel scope link src 10.91.0.5"
        ]
        with client(file) as output:
            server.answer(REQUEST, ACK, "10.91.0.5", "255.255.255.0")
            assert told(output) == {"address": "10.91.0.5/24"}


@pytest.mark.parametrize(("address", "mask"), [("10.91.0.5", "0.0.0.0"), ("127.0.0.1", "255.0.0.0")])
def test_what_would_be_more_than_an_address_is_refused(base_dir: Path, address: str, mask: str) -> None:
    with wire() as server, client(base_dir / "lease") as output:
        server.give(address, mask)
        assert told(output)["refused"].startswith(f"the server offers {address}/")
        assert ip("-netns", NETNS, "route") == ""


def test_where_an_address_of_this_host_is() -> None:
    with wire():
        ip("address", "add", "10.91.0.1/24", "dev", HERE)
        assert find_place("10.91.0.1") == (HERE, "10.91.0.0/24")
