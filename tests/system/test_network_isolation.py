"""What guests hear of each other and of the host: all that is in their own VLAN, and nothing else, whatever is sent."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from shims.network.host_guard import FAMILY, table
from shims.network.nft import Nft
from tests.system.product import Console, Product, shell_init, until

MACS = {name: f"00:16:3e:00:00:{number:02x}" for number, name in enumerate("abcdefg", 10)}
ADDRESSES = {name: f"10.97.0.{number}" for number, name in enumerate("abcdefg", 10)}
ADDRESSES6 = {name: f"fd97::{number}" for number, name in enumerate("abcdefg", 10)}
TAP, OTHER_TAP = "10.97.0.1", "10.98.0.1"
BROADCAST = "ff:ff:ff:ff:ff:ff"
MARK = b"minibus:"
IPV4, IPV6, ARP, ODD = 0x0800, 0x86DD, 0x0806, 0x88B5


@pytest.fixture
def plans(base_dir: Path) -> Path:
    """Where guests find what they are to send."""
    return base_dir


@pytest.fixture
def net(shared: Product, console: Console, kit: Path, plans: Path) -> Iterator[Console]:
    """A connection whose guests have the programs and the plans; afterwards nothing of any network is left."""
    console.ok(f"vm config volume /kit {kit}", f"vm config volume /plans {plans}")
    try:
        yield console
    finally:
        console.ok("clear all")
    assert shared.guests_left() == []


def launch(console: Console, name: str, vlan: str) -> None:
    """A guest that listens to all frames, and sends what it finds in its plan."""
    script = (
        f"for address in {ADDRESSES[name]}/24 {ADDRESSES6[name]}/64; do ip addr add $address dev veth0; done; "
        "ip link set veth0 up; "
        f"/kit/frames listen veth0 /heard & /kit/frames send veth0 /plans/{name}; sleep 1000"
    )
    console.ok(shell_init(script), f"vm config net {vlan},{MACS[name]}", f"vm launch container {name}", "vm start all")


class Ears:
    """What guests have heard."""

    def __init__(self, product: Product, console: Console) -> None:
        self._product = product
        self._console = console
        self._files: dict[str, Path] = {}

    def add(self, name: str) -> None:
        """Wait until it listens."""
        self._files[name] = file = self._product.inside(self._console.vm(name)["id"]) / "heard"
        until(lambda: file.exists() and "listening" in file.read_text(), f"{name} to listen")

    def frames(self, name: str) -> list[bytes]:
        """All frames so far."""
        lines = self._files[name].read_text().splitlines()[1:]
        return [bytes.fromhex(line) for line in lines if len(line) % 2 == 0]

    def texts(self, name: str) -> set[str]:
        """The texts in them."""
        return {text for one in self.frames(name) if (text := text_of(one))}

    def until(self, name: str, text: str) -> None:
        """Wait until it has heard a text."""
        until(lambda: text in self.texts(name), f"{name} to hear {text}")


def text_of(data: bytes) -> str:
    """What a frame of ours says; empty if it is none."""
    return data.partition(MARK)[2].partition(b";")[0].decode("ascii", "replace")


def packed(mac: str) -> bytes:
    """A hardware address as it is in frames."""
    return bytes.fromhex(mac.replace(":", ""))


def frame(text: str, source: str, to: str, *, head: bytes = b"", kind: int = ODD, body: bytes = b"") -> bytes:
    """An Ethernet frame that carries a text; `head` is what comes between its addresses and its type."""
    payload = body + MARK + text.encode() + b";"
    return packed(to) + packed(source) + head + struct.pack("!H", kind) + payload.ljust(50, b"\0")


def tag(vlan: int, kind: int = 0x8100) -> bytes:
    """A VLAN tag."""
    return struct.pack("!HH", kind, vlan)


def llc(text: str, source: str, to: str) -> bytes:
    """A frame of IEEE 802.3, as those of the spanning tree protocol: it has its length in place of a type."""
    payload = b"\x42\x42\x03\0\0\0\0\0" + MARK + text.encode() + b";"
    return packed(to) + packed(source) + struct.pack("!H", len(payload)) + payload.ljust(50, b"\0")


def checksum(data: bytes) -> int:
    """Of IP (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp(text: str, source: str, to_mac: str, to: str, port: int, *, sender: str = "") -> bytes:
    """A datagram from one of the guests to an IPv4 address, whatever hardware address that has."""
    data = MARK + text.encode() + b";"
    data += b" " * (len(data) % 2)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(data), 0, 0, 64, 17, 0)
    head += socket.inet_aton(sender or ADDRESSES[source]) + socket.inet_aton(to)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    datagram = struct.pack("!HHHH", 1000, port, 8 + len(data), 0) + data
    return packed(to_mac) + packed(MACS[source]) + struct.pack("!H", IPV4) + head + datagram


def arp(text: str, source: str, claims: str, to: str = BROADCAST) -> bytes:
    """A claim that an address is ours."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 2) + packed(MACS[source]) + socket.inet_aton(claims)
    body += packed(to) + socket.inet_aton(claims)
    return frame(text, MACS[source], to, kind=ARP, body=body)


def neighbour(text: str, source: str, claims: str) -> bytes:
    """The same for IPv6, to all nodes."""
    there, here = ipaddress.ip_address("ff02::1").packed, ipaddress.ip_address(claims).packed
    message = b"\x88\0\0\0\x20\0\0\0" + here + b"\x02\x01" + packed(MACS[source])
    message += MARK + text.encode() + b";"
    message += b" " * (len(message) % 2)
    pseudo = here + there + struct.pack("!II", len(message), 58)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    head = struct.pack("!IHBB", 0x60000000, len(message), 58, 255) + here + there
    return packed("33:33:00:00:00:01") + packed(MACS[source]) + struct.pack("!H", IPV6) + head + message


def attacks(of: str, victim: str, vlans: tuple[int, int]) -> list[bytes]:
    """All that a guest can think of to be heard in another VLAN; `vlans` are its own and the other one."""
    own, other = vlans
    me, it = MACS[of], MACS[victim]
    forged = [it, MACS["b"], "00:00:00:00:00:00", "02:00:00:00:00:01", "01:00:5e:00:00:01", BROADCAST]
    groups = [f"01:80:c2:00:00:{last:02x}" for last in range(0x22)] + ["01:00:0c:cc:cc:cc", "33:33:00:00:00:01"]
    kinds = (0x8100, 0x88A8, 0x9100)
    tags = [tag(vlan, kind) for kind in kinds for vlan in (0, 1, own, other, 4095)]
    tags += [
        tag(outer, a) + tag(inner, b) for a in kinds for b in kinds for outer, inner in ((own, other), (other, own))
    ]
    return [
        *(frame("plain", me, to) for to in (BROADCAST, it)),
        *(frame("forged", mac, to) for mac in forged for to in (BROADCAST, it)),
        *(frame("tagged", me, to, head=head) for head in tags for to in (BROADCAST, it)),
        *(frame("group", me, to, kind=kind) for to in groups for kind in (ODD, 0x88CC, 0x8808)),
        *(llc("llc", me, to) for to in (*groups, BROADCAST, it)),
        *(udp("udp", of, to, ADDRESSES[victim], 9) for to in (BROADCAST, it, MACS["b"])),
        udp("udp to all", of, BROADCAST, "255.255.255.255", 9),
        *(arp("arp", of, ADDRESSES[claims], to) for claims in (victim, "b") for to in (BROADCAST, it)),
        neighbour("neighbour", of, ADDRESSES6[victim]),
    ]


def numbers(console: Console) -> dict[str, int]:
    """Number by alias."""
    return {row["alias"]: int(row["vlan"]) for row in console.rows("vlans")}


def write(plans: Path, name: str, frames: list[bytes]) -> None:
    """Have a guest send these."""
    draft = plans / f".{name}"
    draft.write_text("".join(f"{one.hex()}\n" for one in frames))
    draft.rename(plans / name)


def test_one_vlan_hears_itself_and_another_one_nothing(shared: Product, net: Console, plans: Path) -> None:
    """`a` and `b` are in one VLAN, `c` and `d` in another; `e` is in one of the same name in another namespace."""
    ears = Ears(shared, net)
    for name, vlan in (("a", "LAN"), ("b", "LAN"), ("c", "OTHER"), ("d", "OTHER"), ("g", "minimega//LAN")):
        launch(net, name, vlan)
        ears.add(name)
    vlans = numbers(net)
    write(plans, "a", [*attacks("a", "c", (vlans["LAN"], vlans["OTHER"])), frame("end", MACS["a"], BROADCAST)])
    for name in "bg":
        ears.until(name, "end")
        assert {"plain", "forged", "llc", "udp to all", "arp", "neighbour"} <= ears.texts(name), "they are neighbours"
    for program, addresses in (("ping", ADDRESSES), ("ping -6", ADDRESSES6)):
        line = f"{program} -c 1 -W 1 {addresses['a']}"
        until(lambda line=line: inside(net, shared, "b", line) == 0, line)  # type: ignore[misc]
        assert inside(net, shared, "c", line) == 1
    write(plans, "d", [frame("control", MACS["d"], BROADCAST)])
    ears.until("c", "control")
    assert ears.texts("c") == {"control"}
    assert ears.texts("d") == set()
    assert not any(one[6:12] == packed(MACS["a"]) for name in "cd" for one in ears.frames(name))


def test_a_name_is_another_vlan_in_another_namespace(shared: Product, net: Console, plans: Path, kit: Path) -> None:
    ears = Ears(shared, net)
    launch(net, "a", "LAN")
    ears.add("a")
    with shared.configured() as other:
        other.ok("namespace exp", f"vm config filesystem {shared.rootfs}", "vm config memory 32")
        other.ok(f"vm config volume /kit {kit}", f"vm config volume /plans {plans}")
        theirs = Ears(shared, other)
        for name, vlan in (("e", "LAN"), ("f", "minimega//LAN")):
            launch(other, name, vlan)
            theirs.add(name)
        assert (other.vm("e")["vlan"], other.vm("f")["vlan"]) == ("[LAN (102)]", "[minimega//LAN (101)]")
        write(plans, "e", [*attacks("e", "a", (102, 101)), frame("end of e", MACS["e"], BROADCAST)])
        write(plans, "f", [frame("from f", MACS["f"], BROADCAST)])
        ears.until("a", "from f")
        until(lambda: not sending(other, "e"), "the end of what e sends")
        write(plans, "a", [frame("from a", MACS["a"], BROADCAST)])
        theirs.until("f", "from a")
        assert (ears.texts("a"), theirs.texts("e")) == ({"from f"}, set())


def inside(console: Console, product: Product, name: str, line: str) -> int:
    """The exit status of a program of busybox's, run in the networks of a guest."""
    netns = f"meganet_{product.tag}_{console.vm(name)['id']}"
    argv = ["nsenter", f"--net=/run/netns/{netns}", "busybox", *line.split()]
    return subprocess.run(argv, capture_output=True).returncode


def sending(console: Console, name: str) -> bool:
    """Whether the program of a guest still sends."""
    init = psutil.Process(int(console.vm(name)["pid"]))
    return any(child.cmdline()[1:2] == ["send"] for child in init.children(recursive=True))


def host_addresses() -> set[str]:
    """All IPv4 addresses of this host."""
    return {one.address for found in psutil.net_if_addrs().values() for one in found if one.family == socket.AF_INET}


def test_of_the_host_guests_reach_the_tap_of_their_vlan(shared: Product, net: Console, plans: Path) -> None:
    """`a` has a tap with an address in its VLAN, `c` has one without, `b` has none."""
    net.ok(f"tap create LAN ip {TAP}/24 mbi0", f"tap create OTHER ip {OTHER_TAP}/24 mbi1", "tap create BARE name mbi2")
    ears = Ears(shared, net)
    for name, vlan in (("a", "LAN"), ("b", "ALONE"), ("c", "BARE")):
        launch(net, name, vlan)
        ears.add(name)
    macs = [Path(f"/sys/class/net/mbi{number}/address").read_text().strip() for number in range(3)]
    targets = sorted({*host_addresses(), "127.0.0.1", "127.255.255.254", "10.98.0.255"})
    assert {TAP, OTHER_TAP} < set(targets)
    with ExitStack() as stack:
        here = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        here.bind(("0.0.0.0", 0))
        here.settimeout(10)
        port = here.getsockname()[1]
        for name, last in (("b", False), ("c", False), ("a", True)):
            sent = [
                udp(f"{name} to {to}", name, mac, to, port, sender=sender)
                for to in targets
                for mac in (*macs, BROADCAST)
                for sender in ("", "127.0.0.1", "10.98.0.7")
            ]
            end = [udp("end", name, macs[0], TAP, port)] if last else []
            write(plans, name, [*sent, *end])
            until(lambda name=name: not sending(net, name), f"the end of what {name} sends")  # type: ignore[misc]
        heard: set[str] = set()
        while (text := text_of(here.recv(2048))) != "end":
            heard.add(text)
    assert heard == {f"a to {TAP}"}


def test_nothing_on_the_host_is_touched(shared: Product, net: Console) -> None:
    """Interfaces, addresses, routes, rules, neighbours and nftables are as they were, but for the host tap itself."""
    before = picture(shared, set())
    net.ok(f"tap create LAN ip {TAP}/24 mbi0", f"dnsmasq start {TAP} 10.97.0.100 10.97.0.200")
    for name, vlan in (("a", "LAN"), ("b", "OTHER")):
        launch(net, name, vlan)
    assert picture(shared, {"mbi0"}) == before
    assert {name for name in psutil.net_if_addrs() if name.startswith("mega_")} == set()
    assert net.rows("dnsmasq")[0]["address"] == TAP
    net.ok("clear all")
    assert picture(shared, set()) == before


def picture(product: Product, taps: set[str]) -> dict[str, object]:
    """What the host has, host taps aside."""
    return {
        **{
            words: sorted(
                re.sub(r" (REACHABLE|STALE|DELAY|PROBE)| ref \d+ used \S+|expires \d+sec", "", line)
                for line in subprocess.run(["ip", *words.split()], capture_output=True, text=True).stdout.splitlines()
                if not any(re.search(rf"\b{tap}\b", line) for tap in taps)
            )
            for words in ("-o link", "-o address", "route show table all", "-6 route show table all", "rule", "-6 rule")
        },
        "tables": [
            item
            for item in Nft().listed("ruleset")
            if next(iter(item.values())).get("table", next(iter(item.values())).get("name")) != table(product.tag)
            or next(iter(item.values()))["family"] != FAMILY
        ],
        "settings": {
            name: Path("/proc/sys/net", name).read_text()
            for name in (
                "ipv4/ip_forward",
                "ipv6/conf/all/forwarding",
                "ipv4/conf/all/arp_ignore",
                "ipv4/conf/all/rp_filter",
            )
        },
    }
