"""What the fabric has to do with the host: host taps, trunks, the end of all of it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from shims.netlink import addressing, links
from shims.netlink.netlink import Netlink, number, text
from shims.network import clearing, host_guard
from shims.network.base import FabricError, HostPort, Segment
from shims.network.host_ends import HostEnds, mark
from shims.network.nft import Nft
from tests.integration.frames import Ear, frame
from tests.integration.guest_ends import Guest, OpenFabric, guests
from tests.integration.test_fabric import plugged

pytestmark = pytest.mark.system
TAG = f"h{os.getpid() % 46656:03x}"
LAN, OTHER, TRUNK = Segment("mega_bridge", 101), Segment("mega_bridge", 102), Segment("mega_bridge", 0)
TAP = f"mbt{TAG}"
WIRE, PLUG = f"mbw{TAG}", f"mbp{TAG}"
ADDRESSES = ["10.88.0.1/24", "fd00:88::1/64"]


def ip(*words: str) -> str:
    """What ip(8) says."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def on_host(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


@pytest.fixture(scope="module")
def ends() -> Iterator[list[Guest]]:
    with guests(3) as made:
        yield made


@pytest.fixture
def fabric() -> Iterator[OpenFabric]:
    """A fabric that is gone afterwards, with all it has on the host."""
    one = OpenFabric(TAG)
    try:
        yield one
        one.do(one.fabric.destroy)
    finally:
        one.close()
    assert clearing.left(TAG) == []
    assert not on_host(TAP)


@pytest.fixture
def wire() -> Iterator[Ear]:
    """An interface of the host with addresses, PLUG, and a raw socket at the other end of its wire."""
    with closing(Netlink()) as netlink:
        netlink.ask(links.new_veth(WIRE, PLUG, index=0, group=0))
        for address in ADDRESSES:
            netlink.ask(addressing.new_address(links.named(netlink, PLUG).ifindex, address))
    ip("link", "set", WIRE, "up")
    ip("link", "set", PLUG, "up")
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:
            raw.bind((WIRE, 3))
            raw.settimeout(10)
            yield Ear(raw)
    finally:
        ip("link", "delete", WIRE)


def test_a_host_tap_is_on_its_segment(fabric: OpenFabric, ends: list[Guest]) -> None:
    guest, stranger = ends[:2]
    with plugged(fabric, {guest: LAN, stranger: OTHER}):
        for end in (guest, stranger):
            end.run("ip", "address", "add", f"{end.address}/24", "dev", "veth0")
        fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN, ("10.9.0.100/24", "fd00:9::1/64")))
        fabric.running(TAP)
        assert "10.9.0.100/24 brd 10.9.0.255" in ip("address", "show", "dev", TAP)
        assert "fd00:9::1/64" in ip("address", "show", "dev", TAP)
        with guest.udp() as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.bind(("10.9.0.100", 0))
            here.settimeout(10)
            there.sendto(b"hello", here.getsockname())
            data, back = here.recvfrom(100)
            here.sendto(data + b" you", back)
            assert there.recv(100) == b"hello you"
        with stranger.raw_socket() as raw:
            ear = Ear(raw)
            ear.send(frame("stranger", stranger.mac))
        seen = fabric.do(fabric.fabric.survey).ports[TAP]
        assert (seen.segment, seen.is_host, seen.on_host) == (LAN, True, True)
        assert clearing.devices(TAG)[-1] == f"device {TAP}"
        fabric.do(fabric.fabric.remove_ports, [TAP])
        assert not on_host(TAP)


def test_the_host_says_little_behind_a_tap(fabric: OpenFabric, ends: list[Guest]) -> None:
    guest = ends[0]
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN, ("10.9.0.100/24",)))
    for path, value in (
        ("ipv4/conf/{}/arp_ignore", "1"),
        ("ipv4/conf/{}/forwarding", "0"),
        ("ipv6/conf/{}/accept_ra", "0"),
    ):
        assert Path("/proc/sys/net", path.format(TAP)).read_text().strip() == value
    assert "inet6" not in ip("address", "show", "dev", TAP)
    with plugged(fabric, {guest: LAN}) as ears:
        fabric.running(TAP)
        guest.run("ip", "address", "add", f"{guest.address}/24", "dev", "veth0")
        guest.run("ip", "route", "add", "default", "via", "10.9.0.100")
        for address in ("10.9.0.100", "127.0.0.1", "10.88.0.1"):
            mac = bytes.fromhex(guest.mac.replace(":", ""))
            question = bytes.fromhex("0001080006040001") + mac + socket.inet_aton(guest.address) + bytes(6)
            ears[0].send(b"\xff" * 6 + mac + b"\x08\x06" + question + socket.inet_aton(address))
        answers = set()
        while socket.inet_aton("10.9.0.100") not in answers:
            data = ears[0].socket.recv(2048)
            if data[12:14] == b"\x08\x06" and data[20:22] == b"\0\2":
                answers.add(data[28:32])
        assert answers == {socket.inet_aton("10.9.0.100")}


def test_a_guest_reaches_the_tap_s_addresses_and_no_others(fabric: OpenFabric, ends: list[Guest]) -> None:
    """Nothing leads to those of other interfaces; one that is added to the tap counts at once."""
    guest, listening = ends[0], []
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN, ("10.9.0.100/24",)))
    fabric.do(fabric.fabric.add_host_port, HostPort(f"{TAP}2", OTHER, ("10.10.0.100/24",)))
    with plugged(fabric, {guest: LAN}), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as here:
        fabric.running(TAP)
        fabric.running(f"{TAP}2")
        here.bind(("0.0.0.0", 0))
        here.settimeout(10)
        guest.run("ip", "address", "add", f"{guest.address}/24", "dev", "veth0")
        guest.run("ip", "route", "add", "default", "via", "10.9.0.100")
        ip("address", "add", "10.9.7.1/24", "dev", TAP)
        with guest.udp() as there:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for address in ("10.10.0.100", "10.10.0.255", "10.9.7.1", "10.9.0.100", "10.9.0.255"):
                there.sendto(address.encode(), (address, here.getsockname()[1]))
            while "10.9.0.255" not in listening:
                listening.append(here.recv(100).decode())
        assert host_guard.guarded(Nft(), TAG) == {TAP, f"{TAP}2"}
        fabric.do(fabric.fabric.remove_ports, [TAP, f"{TAP}2"])
        assert not any(table["table"]["name"].endswith(TAG) for table in Nft().listed("tables netdev"))
    assert listening == ["10.9.7.1", "10.9.0.100", "10.9.0.255"]


def test_a_host_tap_is_there_whole_or_not_at_all(fabric: OpenFabric) -> None:
    add = fabric.fabric.add_host_port
    with pytest.raises(FabricError, match="this host has an interface lo already"):
        fabric.do(add, HostPort("lo", LAN))
    with pytest.raises(FabricError, match=f"{TAP} cannot be made"):
        fabric.do(add, HostPort(TAP, LAN, ("10.9.0.1/24", "10.9.0.1/24")))
    with pytest.raises(FabricError, match="nonsense"):
        fabric.do(add, HostPort(TAP, LAN, ("nonsense",)))
    assert not on_host(TAP)
    assert [link.name for link in fabric.links()] == ["lo"]
    fabric.do(add, HostPort(TAP, LAN))
    with pytest.raises(FabricError, match=f"there is a port {TAP} already"):
        fabric.do(add, HostPort(TAP, OTHER))
    assert fabric.do(fabric.fabric.name_taken, TAP)
    assert not fabric.do(fabric.fabric.name_taken, "mega_tap4711")
    assert fabric.do(fabric.fabric.survey).ports[TAP].segment == LAN


def test_a_tap_cannot_have_the_name_of_a_bridge_in_there(fabric: OpenFabric, ends: list[Guest]) -> None:
    guest = ends[0]
    with plugged(fabric, {guest: LAN}):
        (bridge,) = [
            name
            for line in ip("-brief", "-netns", f"minibus_{TAG}", "link").splitlines()
            if (name := line.split()[0]).startswith("s")
        ]
        with pytest.raises(FabricError, match=f"{bridge} is the name of a device in the networks of minibus"):
            fabric.do(fabric.fabric.add_host_port, HostPort(bridge, OTHER))
        assert not on_host(bridge)
        assert [seen.segment for seen in fabric.do(fabric.fabric.survey).ports.values()] == [LAN], "it is plugged in"


def test_a_tap_that_lost_its_end_is_made_again(fabric: OpenFabric, ends: list[Guest]) -> None:
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN))
    ip("link", "set", TAP, "netns", str(ends[0].pid))
    assert not fabric.do(fabric.fabric.survey).ports[TAP].on_host
    fabric.do(fabric.fabric.remove_ports, [TAP])
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN))
    assert fabric.do(fabric.fabric.survey).ports[TAP].on_host


def test_a_tap_of_which_a_crash_left_half_is_made_again(fabric: OpenFabric, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: HostEnds, port: HostPort) -> None:
        self.netlink.ask(links.set_link(port.name, text(links.IFLA_IFALIAS, mark(TAG))))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(HostEnds, "dress", crash)
        fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN))
    assert on_host(TAP)
    fabric.do(fabric.fabric.open)
    assert fabric.do(fabric.fabric.survey).ports == {}
    assert not on_host(TAP)
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN))
    fabric.do(fabric.fabric.open)
    assert fabric.do(fabric.fabric.survey).ports[TAP].on_host


def test_vlan_0_sees_all_with_tags(fabric: OpenFabric, ends: list[Guest]) -> None:
    trunk, lan, other = ends
    with plugged(fabric, {trunk: TRUNK, lan: LAN, other: OTHER}) as ears:
        ears[1].send(frame("from 101", lan.mac), frame("inner", lan.mac, tags=(7,)))
        ears[2].send(frame("from 102", other.mac), frame("end", other.mac))
        heard = ears[0].until("end")
        assert ("from 101", (101,)) in heard
        assert ("from 102", (102,)) in heard
        ears[0].send(
            frame("to 101", trunk.mac, tags=(101,)),
            frame("to 102", trunk.mac, lan.mac, tags=(102,)),
            frame("to nobody", trunk.mac),
            frame("to nobody", trunk.mac, tags=(103,)),
            frame("end 1", trunk.mac, tags=(101,)),
            frame("end 2", trunk.mac, tags=(102,)),
        )
        assert ears[1].until("end 1") == [("to 101", ())]
        assert ears[2].until("end 2") == [("to 102", ())]
        fabric.do(fabric.fabric.remove_ports, [trunk.tap])
        ears[1].send(frame("alone", lan.mac))
        ears[2].send(frame("alone", other.mac))
    assert fabric.do(fabric.fabric.survey).segments == {LAN, OTHER}


def test_two_ports_of_vlan_0_hear_each_other(fabric: OpenFabric, ends: list[Guest]) -> None:
    with plugged(fabric, {ends[0]: TRUNK, ends[1]: TRUNK, ends[2]: LAN}) as ears:
        ears[0].send(frame("hello", ends[0].mac), frame("end", ends[0].mac))
        assert ears[1].until("end") == [("hello", ())]


def test_an_interface_of_the_host_as_trunk(fabric: OpenFabric, ends: list[Guest], wire: Ear) -> None:
    lan, other = ends[:2]
    with plugged(fabric, {lan: LAN, other: OTHER}) as ears:
        with pytest.raises(FabricError, match=r"has the address 10\.88\.0\.1/24"):
            fabric.do(fabric.fabric.trunk, "mega_bridge", PLUG)
        fabric.do(fabric.fabric.trunk, "mega_bridge", PLUG, True)
        assert not on_host(PLUG)
        fabric.running(PLUG)
        assert fabric.do(fabric.fabric.survey).trunks == {("mega_bridge", PLUG)}
        ears[0].send(frame("from 101", lan.mac))
        ears[1].send(frame("end", other.mac))
        assert wire.until("end") == [("from 101", (101,))]
        wire.send(frame("to 102", lan.mac, tags=(102,)), frame("end", lan.mac, tags=(102,)))
        assert ears[1].until("end") == [("to 102", ())]
        with pytest.raises(FabricError, match=f"{PLUG} is no trunk of other"):
            fabric.do(fabric.fabric.untrunk, "other", PLUG)
        fabric.do(fabric.fabric.untrunk, "mega_bridge", PLUG)
        came_back()
        with pytest.raises(FabricError, match="no trunk"):
            fabric.do(fabric.fabric.untrunk, "mega_bridge", PLUG)


def came_back() -> None:
    """The interface of the host is as it was."""
    with closing(Netlink()) as netlink:
        link = links.named(netlink, PLUG)
        assert addressing.addresses(netlink, link.ifindex) == ADDRESSES
    assert link.flags & links.IFF_UP
    assert link.alias == ""


def test_clearing_gives_interfaces_of_the_host_back(fabric: OpenFabric, wire: Ear) -> None:
    fabric.do(fabric.fabric.trunk, "mega_bridge", PLUG, True)
    fabric.do(fabric.fabric.add_host_port, HostPort(TAP, LAN))
    fabric.do(fabric.fabric.close)
    inside = [f"device {name} (in /run/netns/minibus_{TAG})" for name in (PLUG, TAP)]
    assert sorted(clearing.devices(TAG)) == sorted([*inside, f"device {TAP}"])
    clearing.clear(TAG)
    assert not on_host(TAP)
    came_back()


def test_a_trunk_that_was_not_finished_goes_back(fabric: OpenFabric, wire: Ear) -> None:
    fabric.do(fabric.fabric.trunk, "mega_bridge", PLUG, True)
    fabric.do(unplug)
    assert fabric.do(fabric.fabric.survey).trunks == frozenset()
    came_back()
    fabric.do(fabric.fabric.trunk, "mega_bridge", PLUG, True)
    assert fabric.do(fabric.fabric.survey).trunks == {("mega_bridge", PLUG)}


def unplug() -> None:
    with closing(Netlink()) as netlink:
        netlink.ask(links.set_link(PLUG, number(links.IFLA_MASTER, 0)))


@contextmanager
def bridge_with(port: str) -> Iterator[None]:
    ip("link", "add", f"mbb{TAG}", "type", "bridge")
    try:
        ip("link", "set", port, "master", f"mbb{TAG}")
        yield
    finally:
        ip("link", "delete", f"mbb{TAG}")


def test_what_is_no_trunk(fabric: OpenFabric, wire: Ear) -> None:
    trunk = fabric.fabric.trunk
    for name, why in (("lo", "loopback"), ("mb-none", "there is no interface mb-none on this host")):
        with pytest.raises(FabricError, match=why):
            fabric.do(trunk, "mega_bridge", name)
    with bridge_with(PLUG), pytest.raises(FabricError, match="is a port of another bridge"):
        fabric.do(trunk, "mega_bridge", PLUG, True)
    came_back()


def test_who_carries_the_default_route(fabric: OpenFabric, wire: Ear) -> None:
    carries = fabric.fabric.carries_default_route
    assert not fabric.do(carries, PLUG)
    assert not fabric.do(carries, "mb-none")
    ip("route", "add", "default", "via", "10.88.0.2", "dev", PLUG, "metric", "54321")
    assert fabric.do(carries, PLUG)
    ip("route", "delete", "default", "via", "10.88.0.2", "dev", PLUG, "metric", "54321")
    assert not fabric.do(carries, PLUG)
    ip("-6", "route", "add", "default", "dev", PLUG, "metric", "54321")
    assert fabric.do(carries, PLUG)


def test_through_a_bridge_of_the_host(fabric: OpenFabric, wire: Ear) -> None:
    with bridge_with(PLUG), ExitStack() as stack:
        name = f"mbb{TAG}"
        ip("link", "set", name, "up")
        ip("address", "add", "10.89.0.1/24", "dev", name)
        ip("route", "add", "default", "via", "10.89.0.2", "dev", name, "metric", "54321")
        stack.callback(ip, "route", "delete", "default", "via", "10.89.0.2", "dev", name, "metric", "54321")
        assert fabric.do(fabric.fabric.carries_default_route, PLUG)
