"""Stand-ins for guests: processes with network namespaces of their own, in which a test acts; and a fabric's thread."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from shims.netlink.links import Link, listed
from shims.netlink.netlink import Netlink
from shims.network import netns
from shims.network.base import Abilities, Port, Segment
from shims.network.fabric import KernelFabric
from shims.network.segments import PORTS_LIMIT

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S: Final = 10.0
SEGMENT: Final = Segment("mega_bridge", 100)
_ETH_P_ALL: Final = 0x3
_IFF_RUNNING: Final = 0x40


class Guest:
    """A process that does nothing in a network namespace with one interface, `veth0`."""

    def __init__(self, number: int) -> None:
        self.tap = f"mega_tap{number}"
        self.mac = f"02:00:00:00:01:{number:02x}"
        self.address = f"10.9.0.{number + 1}"
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        self.pid = self._process.pid
        own = Path("/proc/self/ns/net").stat().st_ino
        end_s = time.monotonic() + WAIT_S
        while Path(f"/proc/{self.pid}/ns/net").stat().st_ino == own:
            assert time.monotonic() < end_s, "unshare(1) makes no network namespace"
            time.sleep(0.002)
        self._netns = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(netns.enter, self._netns).result()

    def close(self) -> None:
        """End it, with its interface."""
        self._thread.shutdown()
        os.close(self._netns)
        self._process.kill()
        self._process.wait()

    def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in its network namespace."""
        return self._thread.submit(function, *args, **kwargs).result()

    def port(self, segment: Segment | None = SEGMENT) -> Port:
        """What the fabric is asked for."""
        return Port(self.tap, segment, self.pid, "veth0", self.mac)

    def bring_up(self) -> None:
        """Its interface, with its address."""
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "veth0")
        self.run("ip", "link", "set", "veth0", "up")

    def run(self, *command: str) -> None:
        """Run a program there."""
        self.do(subprocess.run, command, check=True, capture_output=True, timeout=WAIT_S)

    def raw_socket(self, interface: str = "veth0") -> socket.socket:
        """One that reads and writes whole frames on its interface."""
        return self.do(_raw_socket, interface)

    def udp(self, port: int = 0) -> socket.socket:
        """A socket that is bound to its address."""
        return self.do(_udp, (self.address, port))


def _raw_socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    made.bind((interface, _ETH_P_ALL))
    made.settimeout(WAIT_S)
    return made


def _udp(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(WAIT_S)
    made.bind(address)
    return made


class OpenFabric:
    """A fabric, its abilities, and the thread that it lives in."""

    def __init__(self, tag: str, *, ports_limit: int = PORTS_LIMIT) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.fabric = KernelFabric(tag, ports_limit=ports_limit)
        self.abilities: Abilities = self.do(self.fabric.open)

    def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call one of its methods."""
        return self._thread.submit(function, *args, **kwargs).result()

    def links(self) -> list[Link]:
        """What is in it."""
        return self.do(_links)

    def running(self, *names: str) -> None:
        """Wait until these ports pass frames: both ends are up, and the bridge has been told."""
        end_s = time.monotonic() + WAIT_S
        while not set(names) <= {link.name for link in self.links() if link.flags & _IFF_RUNNING}:
            assert time.monotonic() < end_s, f"{names} do not run"
            time.sleep(0.01)

    def close(self) -> None:
        """Let go of the fabric, which stays."""
        self.do(self.fabric.close)
        self._thread.shutdown()


def _links() -> list[Link]:
    with closing(Netlink()) as netlink:
        return listed(netlink)


@contextmanager
def guests(count: int) -> Iterator[list[Guest]]:
    """So many stand-ins, by number."""
    made: list[Guest] = []
    try:
        for number in range(count):
            made.append(Guest(number))
        yield made
    finally:
        for guest in made:
            guest.close()


def arp(address: str, *, mac: str = "02:00:00:00:01:00", vlan: int | None = None) -> bytes:
    """A frame in which somebody asks for 10.9.0.250 and says that `address` is his."""
    source = bytes.fromhex(mac.replace(":", ""))
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    question = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + source + socket.inet_aton(address)
    return b"\xff" * 6 + source + tag + b"\x08\x06" + question + bytes(6) + socket.inet_aton("10.9.0.250")


def neighbour(source: str, target: str, *, kind: int = 135, vlan: int | None = None) -> bytes:
    """A frame of IPv6 neighbour discovery: a solicitation, or (136) an advertisement."""
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    body = struct.pack("!BBHI", kind, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, target)
    head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255)
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:1")
    return bytes.fromhex("3333ff000001 020000000100") + tag + b"\x86\xdd" + head + ends + body
