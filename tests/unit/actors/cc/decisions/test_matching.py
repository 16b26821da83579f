"""Which guests a filter means."""

from __future__ import annotations

import msgspec
import pytest

from actors.cc import interfaces
from actors.cc.decisions.matching import COLUMNS, columns_of, interfaces_of, matches, problem
from actors.cc.sessions.sessions import swapped
from actors.cc.table import CcTable, Facts, Guest, Ledger, Vm
from bus.messages.base import Message
from bus.messages.cc import ClearCc, CommandKind, CommandSpec, GuestFilter, PostCommand, SetFilter
from bus.messages.network import Interface
from bus.messages.tunnel import OpenTunnel
from bus.messages.vlan import DISCONNECTED, VlanTable
from bus.messages.vm import GuestKind, VmConfig, VmInfo, VmState

FACTS = Facts(
    hostname="web",
    arch="amd64",
    os="linux",
    ips=("10.0.0.7", "fe80::1%eth0", "2001:db8::5", "no address"),
    macs=("aa:bb:cc:dd:ee:ff",),
)
GUEST = Guest(
    vm=Vm(
        vm_id=3,
        namespace="n",
        name="vm3",
        uuid="u-3",
        kind=GuestKind.CONTAINER,
        state=VmState.RUNNING,
        tags={"role": "db", "empty": ""},
        columns={"name": "vm3", "memory": "64"},
        interfaces={"vlan": ("101", "LAN", "LAN (101)"), "bridge": ("br1", "br2"), "ip6": ("fd00::7",)},
    ),
    facts=FACTS,
)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (None, True),
        (GuestFilter(), True),
        (GuestFilter(uuid="U-3"), True),
        (GuestFilter(uuid="u"), False),
        (GuestFilter(hostname="web", arch="amd64", os="linux"), True),
        (GuestFilter(hostname="web", os="windows"), False),
        (GuestFilter(mac="AA:BB:cc:dd:ee:ff"), True),
        (GuestFilter(mac="aa:bb"), False),
        (GuestFilter(ip="10.0.0.7"), True),
        (GuestFilter(ip="10.0.0.0/8"), True),
        (GuestFilter(ip="10.0.0.9/24"), True),
        (GuestFilter(ip="10.0.0.8"), False),
        (GuestFilter(ip="fe80::/10"), True),
        (GuestFilter(ip="2001:DB8:0:0::5"), True),
        (GuestFilter(ip="0.0.0.0/0"), True),
        (GuestFilter(ip="::/0"), True),
        (GuestFilter(ip="bad"), False),
        (GuestFilter(tags=(("role", "db"),)), True),
        (GuestFilter(tags=(("role", "db"), ("role", "web"))), False),
        (GuestFilter(tags=(("empty", ""), ("missing", ""))), True),
        (GuestFilter(tags=(("missing", "x"),)), False),
        (GuestFilter(columns=(("name", "vm3"), ("memory", "64"))), True),
        (GuestFilter(columns=(("name", "vm4"),)), False),
        (GuestFilter(columns=(("name", "vm[1-5]"),)), True),
        (GuestFilter(columns=(("name", "web,vm[4-9],vm3"),)), True),
        (GuestFilter(columns=(("name", "web,vm[4-9]"),)), False),
        (GuestFilter(columns=(("name", "vm["),)), False),
        (GuestFilter(columns=(("kernel", ""),)), True),
        (GuestFilter(columns=(("vlan", "LAN"), ("vlan", "101"), ("vlan", "LAN (101)"))), True),
        (GuestFilter(columns=(("vlan", "102"),)), False),
        (GuestFilter(columns=(("vlan", ""),)), False),
        (GuestFilter(columns=(("bridge", "br2"),)), True),
        (GuestFilter(columns=(("bridge", "br"),)), False),
        (GuestFilter(columns=(("tap", "mega_tap0"),)), False),
        (GuestFilter(columns=(("ip6", "FD00::7"),)), True),
        (GuestFilter(columns=(("ip6", "fd00::/8"),)), True),
        (GuestFilter(columns=(("ip6", "fd01::/16"),)), False),
    ],
)
def test_matches(wanted: GuestFilter | None, meant: bool) -> None:
    assert matches(wanted, GUEST) is meant


def test_what_a_guest_has_not_told_matches_nothing() -> None:
    silent = Guest(vm=GUEST.vm)
    assert matches(GuestFilter(tags=(("role", "db"),)), silent)
    for wanted in (GuestFilter(ip="::/0"), GuestFilter(os="linux"), GuestFilter(mac="aa:bb:cc:dd:ee:ff")):
        assert not matches(wanted, silent)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (None, ""),
        (GuestFilter(ip="10.0.0.0/8"), ""),
        (GuestFilter(columns=(("name", "x"),)), ""),
        (GuestFilter(ip="10.0.0.0/33"), "`10.0.0.0/33` is neither an IP address nor a network such as 10.0.0.0/8"),
        (GuestFilter(columns=(("name", "web[1-20],db"),)), ""),
        (GuestFilter(columns=(("name", "web[1-"),)), "unterminated '['"),
        (
            GuestFilter(columns=(("name", "web[1-99999]"),)),
            "web[1-99999] gives too many names: at most 10000 are allowed",
        ),
        (GuestFilter(ip="ten"), "`ten` is neither an IP address nor a network such as 10.0.0.0/8"),
    ],
)
def test_problem(wanted: GuestFilter | None, says: str) -> None:
    assert problem(wanted) == says


def test_what_filters_may_say_of_interfaces() -> None:
    some = (
        Interface(tap="mega_tap0", bridge="br1", vlan=101, mac="", ip6="fd00::7"),
        Interface(tap="mega_tap1", vlan=DISCONNECTED, mac=""),
        Interface(tap="mega_tap2", bridge="br1", vlan=103, mac=""),
    )
    vlans = VlanTable(aliases={"n//LAN": 101, "n//OTHER": 102, "foo//BAR": 103}, namespace="n")
    assert interfaces_of(some, vlans) == {
        "vlan": ("-1", "101", "103", "LAN", "LAN (101)", "disconnected", "foo//BAR", "foo//BAR (103)", "n//LAN"),
        "bridge": ("br1",),
        "tap": ("mega_tap0", "mega_tap1", "mega_tap2"),
        "ip6": ("fd00::7",),
    }


BY_VLAN = GuestFilter(columns=(("name", "a"), ("vlan", "LAN")))
BY_NAME = GuestFilter(columns=(("name", "a"),))
POST = PostCommand(command=CommandSpec(kind=CommandKind.EXEC, argv=("/bin/true",)))
TUNNEL = OpenTunnel(source=1, host="h", port=2, reverse=True)


@pytest.mark.parametrize(
    ("in_force", "request_", "looks"),
    [
        (None, SetFilter(filter=BY_VLAN), True),
        (BY_VLAN, SetFilter(filter=BY_NAME), False),
        (BY_VLAN, SetFilter(), False),
        (BY_VLAN, POST, True),
        (BY_NAME, POST, False),
        (BY_VLAN, msgspec.structs.replace(POST, filter=BY_NAME), False),
        (None, msgspec.structs.replace(POST, filter=BY_VLAN), True),
        (BY_VLAN, TUNNEL, True),
        (None, TUNNEL, False),
        (BY_VLAN, ClearCc(), False),
    ],
)
def test_requests_that_are_judged_by_interfaces(in_force: GuestFilter | None, request_: Message, looks: bool) -> None:
    table = CcTable(namespaces={"n": Ledger(name="l", filter=in_force)})
    assert interfaces.needs_a_look(table, "n", request_) is looks
    assert interfaces.are_wanted(table, "n") is (in_force is BY_VLAN)
    assert not interfaces.are_wanted(table, "other")


def test_columns_are_written_as_vm_info_writes_them() -> None:
    info = VmInfo(
        vm_id=3,
        name="vm3",
        namespace="n",
        host="h",
        kind=GuestKind.CONTAINER,
        state=VmState.PAUSED,
        uuid="u",
        created_s=1.0,
        config=VmConfig(memory_mib=64, filesystem="/root", kernel="not of containers"),
    )
    columns = columns_of(info)
    assert set(columns) <= set(COLUMNS)
    assert (columns["state"], columns["type"], columns["memory"], columns["snapshot"], columns["filesystem"]) == (
        "PAUSED",
        "container",
        "64",
        "true",
        "/root",
    )
    assert "kernel" not in columns


@pytest.mark.parametrize(
    ("uuid", "turned"),
    [
        ("00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff"),
        ("not-a-uuid", ""),
        ("", ""),
    ],
)
def test_uuids_of_some_firmware_are_turned_round(uuid: str, turned: str) -> None:
    assert swapped(uuid) == turned
    assert swapped(turned) == (uuid if turned else "")
