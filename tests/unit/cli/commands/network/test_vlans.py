"""`vlans`, `tap`, `bridge`: what is typed, what it asks, how the reply is shown; completion of their names."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import ConflictError, DeadlineError, UnavailableError
from bus.messages.base import Ack, Message, Request
from bus.messages.namespace import Draft, GetDraft, SetConfig
from bus.messages.network import (
    BridgeInfo,
    Bridges,
    CreateTap,
    DeleteTaps,
    GetBridges,
    GetHostTaps,
    GetInterfaces,
    GuestInterfaces,
    HostTap,
    HostTaps,
    Interface,
    InterfaceList,
    InterfaceReport,
    Netspec,
    TrunkBridge,
)
from bus.messages.vlan import (
    AddVlan,
    BlacklistVlan,
    ClearVlans,
    GetVlans,
    ResolveVlans,
    ReturnVlans,
    SetVlanRange,
    Vlan,
    VlanRange,
    Vlans,
    VlanTable,
)
from bus.messages.vm import GetVmNames, VmConfig, VmNames
from tests.unit.cli.stand_ins import EngineBench

TABLE = VlanTable(
    namespace="minimega",
    aliases={"minimega//WAN": 102, "minimega//LAN": 101, "exp//LAN": 103},
    ranges={
        "minimega": VlanRange(minimum=101, maximum=4096, next_=102),
        "exp": VlanRange(minimum=10, maximum=20, next_=11),
    },
    blacklist=(7, 9),
)
TAPS = HostTaps(
    taps=(
        HostTap(name="mega_tap0", namespace="minimega", bridge="mega_bridge", vlan=101),
        HostTap(name="t", namespace="minimega", bridge="br1", vlan=7, address="10.0.0.1/24"),
    )
)
BRIDGES = Bridges(
    bridges=(BridgeInfo(name="br1", vlans=(7, 103), trunks=("eth1",)), BridgeInfo(name="mega_bridge", vlans=(101,)))
)


NIC = Interface(tap="mega_tap9", bridge="mega_bridge", vlan=101, mac="00:11:22:33:44:55")
NO_ADDRESS = "is no address with a prefix length: expected one such as 10.0.0.1/24"


def bench(**more: Any) -> EngineBench:
    """An engine on a host with these VLANs, taps and bridges."""
    known: dict[type[Message], Any] = {
        GetVlans: TABLE,
        GetHostTaps: TAPS,
        GetBridges: BRIDGES,
        GetInterfaces: InterfaceList(guests=(GuestInterfaces(vm_id=1, name="web", interfaces=(NIC,)),)),
        GetVmNames: VmNames(uuids={}),
        ResolveVlans: Vlans(vlans=(Vlan(number=101, alias="minimega//LAN"),)),
        CreateTap: HostTaps(taps=TAPS.taps[:1]),
        DeleteTaps: InterfaceReport(),
        **{kind: Ack() for kind in (AddVlan, SetVlanRange, BlacklistVlan, ClearVlans, TrunkBridge)},
    }
    return EngineBench({**known, **more.get("reactions", {})})


@pytest.mark.parametrize(
    ("line", "header", "rows"),
    [
        ("vlans", ("alias", "vlan"), [("LAN", "101"), ("WAN", "102")]),
        ("vlans range", ("min", "max", "next"), [("101", "4096", "102")]),
        ("vlans blacklist", ("vlan",), [("7",), ("9",)]),
        (
            "tap",
            ("bridge", "tap", "vlan", "address"),
            [("mega_bridge", "mega_tap0", "LAN (101)", ""), ("br1", "t", "7", "10.0.0.1/24")],
        ),
        (
            "bridge",
            ("bridge", "preexisting", "vlans", "trunks", "tunnels"),
            [
                ("br1", "false", "[7 exp//LAN (103)]", "[eth1]", "[]"),
                ("mega_bridge", "false", "[LAN (101)]", "[]", "[]"),
            ],
        ),
    ],
)
async def test_tables(line: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    response = await bench().one(line)
    assert (response.header, response.rows) == (header, rows)


async def test_a_namespace_without_a_range_has_no_row() -> None:
    table = VlanTable(namespace="other", ranges=TABLE.ranges)
    response = await bench(reactions={GetVlans: table}).one("vlans range")
    assert (response.header, response.rows) == (("min", "max", "next"), [])


async def test_without_names_numbers_are_shown() -> None:
    response = await bench(reactions={GetVlans: UnavailableError("no")}).one("tap")
    assert [row[2] for row in response.rows or ()] == ["101", "7"]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("vlans add LAN 200", AddVlan(alias="LAN", number=200)),
        ("vlans add exp//LAN 200", AddVlan(alias="exp//LAN", number=200)),
        ("vlans range 100 200", SetVlanRange(minimum=100, maximum=200)),
        ("vlans range -1 200", SetVlanRange(minimum=-1, maximum=200)),
        ("vlans blacklist 5", BlacklistVlan(number=5)),
        ("clear vlans", ClearVlans()),
        ("clear vlans all", ClearVlans(prefix="all")),
        ("clear vlans exp//", ClearVlans(prefix="exp//")),
        ("tap delete t", DeleteTaps(name="t")),
        ("tap delete all", DeleteTaps(name="all")),
        ("clear tap", DeleteTaps(name="all")),
        ("bridge trunk br1 eth1", TrunkBridge(bridge="br1", interface="eth1")),
        ("bridge trunk br1 eth1 force", TrunkBridge(bridge="br1", interface="eth1", force=True)),
        ("bridge notrunk br1 eth1", TrunkBridge(bridge="br1", interface="eth1", remove=True)),
    ],
)
async def test_changes(line: str, request_: Request[Message]) -> None:
    engine = bench()
    assert await engine.text(line) == ""
    assert engine.bus.asked[0].request == request_


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("vlans add LAN x", "expected integer VLAN"),
        ("vlans add LAN 99999999999", "expected integer VLAN"),
        ("vlans blacklist x", "expected integer VLAN"),
        ("vlans range a 200", "expected integer values for min/max"),
        ("vlans range 100 b", "expected integer values for min/max"),
        ("bridge trunk all eth1", "`all` is a reserved word -- cannot use for bridge name"),
        ("tap create 5000", "invalid VLAN (0 <= vlan < 4096)"),
        ('tap create ""', "VLAN must be non-empty string"),
        ("tap create LAN bridge all", "`all` is a reserved word -- cannot use for bridge name"),
        ("tap create LAN name all", "`all` is a reserved word -- cannot use for tap name"),
        (
            "tap create LAN name sixteen_letters_",
            "invalid tap name, `sixteen_letters_` is not 1 to 15 letters, digits, `_`, `-` and `.`, "
            "the last two not at the beginning",
        ),
        (
            "tap create LAN ip 10.0.0.300/24",
            "`10.0.0.300/24` is no address with a prefix length: expected one such as 10.0.0.1/24",
        ),
        ("tap create LAN bridge b ip x t", "`x` is no address with a prefix length: expected one such as 10.0.0.1/24"),
    ],
)
async def test_mistakes_are_asked_of_nobody(line: str, sentence: str) -> None:
    engine = bench()
    assert await engine.error(line) == sentence
    assert engine.bus.asked == []


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("tap create LAN", CreateTap(vlan=101)),
        ("tap create LAN name t", CreateTap(vlan=101, name="t")),
        ("tap create LAN dhcp", CreateTap(vlan=101, dhcp=True)),
        ("tap create LAN bridge b dhcp t", CreateTap(vlan=101, bridge="b", name="t", dhcp=True)),
        ("tap create LAN ip 10.0.0.1/24", CreateTap(vlan=101, address="10.0.0.1/24")),
        ("tap create LAN ip fd00::1/64 t", CreateTap(vlan=101, address="fd00::1/64", name="t")),
        ("tap create LAN ip 10.0.0.1", CreateTap(vlan=101, address="10.0.0.1/32")),
        ("tap create LAN bridge br1", CreateTap(vlan=101, bridge="br1")),
        ("tap create LAN bridge br1 name", CreateTap(vlan=101, bridge="br1")),
        ("tap create LAN bridge br1 name t", CreateTap(vlan=101, bridge="br1", name="t")),
        (
            "tap create LAN bridge br1 ip 10.0.0.1/8 t",
            CreateTap(vlan=101, bridge="br1", name="t", address="10.0.0.1/8"),
        ),
    ],
)
async def test_a_new_tap(line: str, request_: CreateTap) -> None:
    engine = bench()
    assert await engine.text(line) == "mega_tap0"
    resolve, create = engine.bus.asked
    assert (resolve.to, resolve.request) == ("namespace", ResolveVlans(texts=("LAN",)))
    assert (create.to, create.request) == ("network@n1", request_)


async def test_a_tap_that_cannot_be_made() -> None:
    engine = bench(reactions={CreateTap: ConflictError("tap already on bridge"), ReturnVlans: Ack()})
    assert await engine.error("tap create LAN") == "tap already on bridge"
    assert engine.bus.asked[-1].request == ReturnVlans(aliases=("minimega//LAN",))
    typed = bench(reactions=engine.bus.reactions | {ResolveVlans: Vlans(vlans=(Vlan(number=77),))})
    assert await typed.error("tap create 77") == "tap already on bridge"
    assert typed.bus.asked[-1].request == ReturnVlans(numbers=(77,))
    unknown = bench(reactions={CreateTap: DeadlineError("no answer in time"), ReturnVlans: Ack()})
    assert await unknown.error("tap create LAN") == "no answer in time"
    assert ReturnVlans not in map(type, [asked.request for asked in unknown.bus.asked])
    unplugged = bench(reactions={ResolveVlans: Vlans(vlans=(Vlan(number=-1),))})
    assert await unplugged.error("tap create disconnected") == "a tap is plugged into a VLAN, it cannot be disconnected"
    report = InterfaceReport(errors=("unknown tap: x",))
    assert await bench(reactions={DeleteTaps: report}).error("tap delete x") == "unknown tap: x"


async def test_interfaces_of_the_configuration() -> None:
    networks = (Netspec(vlan=101, alias="minimega//LAN"), Netspec(bridge="br", vlan=7, mac="00:11:22:33:44:55"))
    engine = bench(reactions={GetDraft: Draft(config=VmConfig(networks=networks)), SetConfig: Ack()})
    shown = "[mega_bridge,LAN (101) br,7,00:11:22:33:44:55]"
    assert await engine.text("vm config net") == shown
    assert f"Networks:         {shown}\n" in await engine.text("vm config")
    assert await engine.text("vm config net LAN br,7") == ""
    assert SetConfig(param="net", words=("LAN", "br,7")) in [asked.request for asked in engine.bus.asked]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tap create ", ["LAN", "WAN", "exp//LAN"]),
        ("tap create LAN bridge ", ["br1", "mega_bridge"]),
        ("tap delete ", ["all", "mega_tap0", "t"]),
        ("tap mirror ", ["mega_tap0", "mega_tap9", "t"]),
        ("clear vlans ", ["LAN", "WAN", "all", "exp//LAN"]),
        ("bridge notrunk br1 ", ["eth1"]),
        ("bridge trunk m", ["mega_bridge"]),
        ("vm config net ", ["LAN", "WAN", "br1", "exp//LAN", "mega_bridge"]),
        ("vm config net LAN W", ["WAN"]),
        ("vm config net br1,W", ["br1,WAN"]),
        ("vm config net LAN,vm", ["LAN,vmxnet3"]),
        ("vm config net br1,LAN,e1000e", ["br1,LAN,e1000e"]),
    ],
)
async def test_completion(line: str, found: list[str]) -> None:
    engine = bench()
    head = line[: line.rindex(" ") + 1]
    assert await engine.engine.suggest(line, engine.session) == [f"{head}{word} " for word in found]
