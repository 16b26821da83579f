"""Messages of rtnetlink as bytes, and what is read from those of the kernel."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from shims.linux import bpf
from shims.netlink import addressing, links, netlink
from shims.netlink.netlink import NLM_F_CREATE, NLM_F_EXCL, attribute, attributes, nested, number, text


def test_attributes_are_padded() -> None:
    assert attribute(3, b"abc") == struct.pack("=HH", 7, 3) + b"abc\0"
    assert text(3, "eth0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"
    assert number(10, 5) == struct.pack("=HHI", 8, 10, 5)
    assert number(10, -1) == struct.pack("=HHI", 8, 10, 0xFFFFFFFF)
    assert nested(18, number(1, 2)) == struct.pack("=HH", 12, 18 | 0x8000) + number(1, 2)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (number(1, 7) + text(3, "x"), [(1, struct.pack("=I", 7)), (3, b"x\0")]),
        (nested(18, number(1, 2)), [(18, number(1, 2))]),
        (number(1, 7) + b"\x03", [(1, struct.pack("=I", 7))]),
        (struct.pack("=HH", 3, 1), []),
        (struct.pack("=HH", 400, 1) + b"short", []),
        (struct.pack("=HH", 0, 0) * 3, []),
    ],
)
def test_attributes_are_read(data: bytes, found: list[tuple[int, bytes]]) -> None:
    assert list(attributes(data)) == found


def test_attributes_from_an_offset() -> None:
    assert list(attributes(b"head" + number(1, 7), 4)) == [(1, struct.pack("=I", 7))]


def error(code: int, flags: int = 0, echoed: bytes = b"", said: bytes = b"") -> netlink.NetlinkError | None:
    header = struct.pack("=IHHII", 16 + len(echoed), 16, 1, 9, 0)
    return netlink._error(flags, struct.pack("=i", code) + header + echoed + said)


def test_what_the_kernel_says() -> None:
    said = text(1, "Exchange is full")
    assert error(0) is None
    plain = error(-errno.ENODEV)
    assert plain is not None
    assert (plain.errno, plain.strerror) == (errno.ENODEV, "No such device")
    capped = error(-errno.EBUSY, 0x300, b"", said)
    assert capped is not None
    assert capped.strerror == "Exchange is full (Device or resource busy)"
    whole = error(-errno.EBUSY, 0x200, b"12345\0\0\0", said)
    assert whole is not None
    assert whole.strerror == "Exchange is full (Device or resource busy)"


def read(message: netlink.Message) -> dict[int, bytes]:
    return dict(attributes(message.payload, 16))


def test_a_pair() -> None:
    message = links.new_veth(
        "mega_tap1", "veth0", index=70, group=5, master=9, peer_place=links.in_netns(3), peer_mac="02:00:00:00:00:01"
    )
    assert (message.kind, message.flags) == (links.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
    family, _, index, flags, change = struct.unpack_from("=BxHiII", message.payload)
    assert (family, index, flags, change) == (0, 70, links.IFF_UP | links.IFF_NOARP, links.IFF_UP | links.IFF_NOARP)
    found = read(message)
    assert found[links.IFLA_IFNAME] == b"mega_tap1\0"
    assert found[links.IFLA_GROUP] == struct.pack("=I", 5)
    assert found[links.IFLA_MASTER] == struct.pack("=I", 9)
    info = dict(attributes(found[links.IFLA_LINKINFO]))
    assert info[links.IFLA_INFO_KIND] == b"veth\0"
    peer = dict(attributes(info[links.IFLA_INFO_DATA]))[1]
    assert peer[:16] == bytes(16), "the other end is down, and the kernel numbers it"
    other = dict(attributes(peer, 16))
    assert other[links.IFLA_IFNAME] == b"veth0\0"
    assert other[links.IFLA_NET_NS_FD] == struct.pack("=I", 3)
    assert other[links.IFLA_ADDRESS] == bytes.fromhex("020000000001")
    assert links.IFLA_MASTER not in other


@pytest.mark.parametrize("filters", [True, False])
def test_a_bridge(filters: bool) -> None:
    message = links.new_bridge("s1.abc", index=8, group=3, mac="02:00:00:00:00:01", filters=filters)
    data = dict(attributes(dict(attributes(read(message)[links.IFLA_LINKINFO]))[links.IFLA_INFO_DATA]))
    assert data[links.IFLA_BR_STP_STATE] == bytes(4)
    assert data[links.IFLA_BR_MCAST_SNOOPING] == b"\0"
    assert (data.get(links.IFLA_BR_VLAN_FILTERING), data.get(links.IFLA_BR_VLAN_DEFAULT_PVID)) == (
        (b"\1", b"\0\0") if filters else (None, None)
    )


def test_vlans_of_a_port() -> None:
    message = links.set_vlans(8, [(7, 7, 6), (1, 4093, 0)])
    assert message.payload[0] == links.AF_BRIDGE
    vlans = [struct.unpack("=HH", value) for _, value in attributes(read(message)[links.IFLA_AF_SPEC])]
    assert vlans == [(6, 7), (8, 1), (16, 4093)]
    assert links.set_vlans(8, [(7, 7, 6)], remove=True).kind == links.RTM_DELLINK


@pytest.mark.parametrize(
    ("address", "family", "prefix", "broadcast"),
    [
        ("10.1.2.3/24", socket.AF_INET, 24, "10.1.2.255"),
        ("10.1.2.3/31", socket.AF_INET, 31, ""),
        ("10.1.2.3/32", socket.AF_INET, 32, ""),
        ("10.1.2.3", socket.AF_INET, 32, ""),
        ("fd00::1/64", socket.AF_INET6, 64, ""),
    ],
)
def test_addresses(address: str, family: int, prefix: int, broadcast: str) -> None:
    message = addressing.new_address(5, address)
    assert struct.unpack_from("=BBBBI", message.payload) == (family, prefix, 0, 0, 5)
    found = dict(attributes(message.payload, 8))
    assert found[2] == socket.inet_pton(family, address.partition("/")[0])
    assert found.get(4, b"") == (socket.inet_aton(broadcast) if broadcast else b"")


@pytest.mark.parametrize("address", ["", "nonsense", "10.0.0.1/33", "10.0.0.1/24/3", "fd00::1/129"])
def test_no_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        addressing.new_address(5, address)


def test_programs_end_in_a_verdict() -> None:
    """Each jump leads to the drop at the end: mov r0, 2; exit."""
    for code in (bpf.tagging_program(101), bpf.untagging_program(101)):
        instructions = [struct.unpack_from("<BBhi", code, offset) for offset in range(0, len(code), 8)]
        assert instructions[-2:] == [(0xB7, 0, 0, 2), (0x95, 0, 0, 0)]
        jumps = [(place, off) for place, (kind, _, off, _) in enumerate(instructions) if off and kind in (0x15, 0x55)]
        assert jumps
        assert {place + 1 + off for place, off in jumps} == {len(instructions) - 2}
