"""Names and marks of the fabric's devices, by which they are known again, and what is read from texts of the kernel."""

from __future__ import annotations

import pytest

from shims.netlink.links import BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_UNTAGGED
from shims.network import segments
from shims.network.fabric import _segment
from shims.network.host_ends import note_of, read_note
from shims.network.ports import counted
from shims.network.segments import ALL, UNTAGGED

KEYS = [("mega_bridge", 101), ("x", 0), ("a_bridge.name-5", 4095), ("mega_bridge", ALL)]
ACCESS = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("number", [0, 1, 99])
def test_what_a_bridge_is_called(key: tuple[str, int], number: int) -> None:
    name = segments.device_name(key, number)
    assert len(name) <= 15
    assert segments.read_alias(segments.alias_of(key, number)) == (key, number)
    names = {name, *segments.patch_names(name), *segments.tag_names(name)}
    assert len(names) == 5
    assert all(len(one) <= 15 for one in names)


def test_names_differ() -> None:
    assert len({segments.device_name(key, number) for key in KEYS for number in range(3)}) == 3 * len(KEYS)


@pytest.mark.parametrize("alias", ["", "mega_bridge", "a b c d", "mega_bridge x 0", "mega_bridge 1 -1", "minibus abcd"])
def test_an_alias_of_others(alias: str) -> None:
    assert segments.read_alias(alias) is None


@pytest.mark.parametrize(
    ("was_up", "addresses"), [(True, ["10.0.0.1/24", "fd00::1/64"]), (False, []), (True, []), (False, ["10.0.0.1/24"])]
)
def test_the_note_of_a_trunk(was_up: bool, addresses: list[str]) -> None:
    assert read_note(note_of("abcd", "mega_bridge", was_up, addresses)) == ("mega_bridge", was_up, addresses)


@pytest.mark.parametrize("alias", ["", "minibus abcd", "minibus abcd trunk", "minibus abcd trunk x", "uplink"])
def test_no_note(alias: str) -> None:
    assert read_note(alias) is None


@pytest.mark.parametrize(
    ("key", "vlans", "segment"),
    [
        (None, [], None),
        (("b", 7), [], ("b", 7)),
        (("b", ALL), [], None),
        (("b", ALL), [(7, ACCESS)], ("b", 7)),
        (("b", ALL), [(1, 8), (4093, 16), (UNTAGGED, ACCESS)], ("b", 0)),
        (("b", ALL), [(1, 8), (4093, 16)], None),
    ],
)
def test_the_segment_of_a_port(
    key: tuple[str, int] | None, vlans: list[tuple[int, int]], segment: tuple[str, int] | None
) -> None:
    assert _segment(key, vlans) == segment


def test_counters() -> None:
    lines = [
        "Inter-|   Receive                                                |  Transmit",
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets",
        "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0",
        "mega_tap1:    120       3    0    0    0     0          0         0     4500      30    0    0    0     0",
        "  mega_tap22: 1 1 0 0 0 0 0 0 2 1 0 0 0 0",
    ]
    found = list(counted(iter(lines), lambda name: name.startswith("mega")))
    assert found == [("mega_tap1", 120, 4500), ("mega_tap22", 1, 2)]
