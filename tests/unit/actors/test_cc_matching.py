"""Which guests a filter means."""

from __future__ import annotations

import pytest

from actors.cc.matching import COLUMNS, columns_of, matches, problem
from actors.cc.sessions import swapped
from actors.cc.table import Facts, Guest, Vm
from bus.messages.cc import GuestFilter
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
        (GuestFilter(columns=(("kernel", ""),)), True),
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
        (GuestFilter(ip="ten"), "`ten` is neither an IP address nor a network such as 10.0.0.0/8"),
    ],
)
def test_problem(wanted: GuestFilter | None, says: str) -> None:
    assert problem(wanted) == says


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
