"""`vm net`: what is asked of whom, in which order, and what users read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bus.errors import DeadlineError, InvalidError, NotFoundError, UnavailableError
from bus.messages.base import Ack, Message
from bus.messages.network import (
    AddInterfaces,
    ConnectInterfaces,
    GetInterfaces,
    GuestInterfaces,
    GuestNic,
    Interface,
    InterfaceList,
    InterfaceReport,
    Netspec,
)
from bus.messages.vlan import DISCONNECTED, ResolveVlans, ReturnVlans, Vlan, Vlans
from bus.messages.vm import GetVms, VmConfig, VmList, WireVms
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm

WEB = GuestNic(vm_id=0, name="web", namespace="minimega")
DB = GuestNic(vm_id=1, name="db", namespace="minimega")


def interfaces(count: int, vm_id: int = 0) -> GuestInterfaces:
    some = tuple(Interface(tap=f"mega_tap{number}", vlan=101, mac="") for number in range(count))
    return GuestInterfaces(vm_id=vm_id, name=str(vm_id), interfaces=some)


def resolve(asked: Asked) -> Message:
    """Numbers are what they are, every alias is 101."""
    assert isinstance(asked.request, ResolveVlans)
    texts = asked.request.texts
    return Vlans(
        vlans=tuple(Vlan(number=int(t)) if t.isdecimal() else Vlan(number=101, alias=f"minimega//{t}") for t in texts)
    )


def bench(**more: Any) -> EngineBench:
    """A host with web (two interfaces) and db (one)."""
    reactions: dict[type[Message], Any] = {
        GetInterfaces: InterfaceList(guests=(interfaces(2), interfaces(1, 1))),
        ResolveVlans: resolve,
        ConnectInterfaces: InterfaceReport(),
        AddInterfaces: InterfaceReport(),
        WireVms: Ack(),
        ReturnVlans: Ack(),
    }
    return EngineBench(reactions, **more)


def asked(bench: EngineBench) -> list[str]:
    return [type(one.request).__name__ for one in bench.bus.asked]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("connect all 0 LAN", ConnectInterfaces(vms=(WEB, DB), index=0, vlan=101, alias="minimega//LAN")),
        ("connect all 1 100 br2", ConnectInterfaces(vms=(WEB, DB), index=1, vlan=100, bridge="br2")),
        ("disconnect all 1", ConnectInterfaces(vms=(WEB, DB), index=1, vlan=DISCONNECTED)),
        (
            "add all LAN,00:11:22:33:44:55 br2,100",
            AddInterfaces(
                vms=tuple(
                    GuestNic(
                        vm_id=vm.vm_id,
                        name=vm.name,
                        namespace="minimega",
                        networks=(
                            Netspec(vlan=101, alias="minimega//LAN", mac="00:11:22:33:44:55"),
                            Netspec(bridge="br2", vlan=100),
                        ),
                    )
                    for vm in (WEB, DB)
                )
            ),
        ),
    ],
)
async def test_what_is_asked_of_networks(line: str, expected: Message) -> None:
    one = bench()
    assert await one.text(f"vm net {line}") == ""
    assert (one.bus.asked[-1].to, one.bus.asked[-1].request) == ("network@n1", expected)


async def test_interfaces_that_come_later_are_expected_before_they_are_made() -> None:
    one = bench()
    assert await one.text("vm net add web,db LAN") == ""
    assert asked(one) == ["GetVms", "GetInterfaces", "ResolveVlans", "WireVms", "AddInterfaces"]
    assert one.bus.asked[3].request == WireVms(target="0,1")


async def test_what_was_never_plugged_in_is_made_known_first() -> None:
    networks = (Netspec(vlan=101, alias="minimega//LAN"), Netspec(vlan=100))
    new = msgspec.structs.replace(make_vm(7, "new"), config=VmConfig(networks=networks))
    one = bench()
    one.bus.reactions[GetVms] = VmList(vms=(make_vm(0, "web"), new))
    assert await one.text("vm net connect web,new 1 LAN") == ""
    steps = ["GetVms", "GetInterfaces", "WireVms", "AddInterfaces", "ResolveVlans", "ConnectInterfaces"]
    assert asked(one) == steps
    known = GuestNic(vm_id=7, name="new", namespace="minimega", configured=networks)
    assert one.bus.asked[2].request == WireVms(target="7")
    assert one.bus.asked[3].request == AddInterfaces(vms=(known,))
    assert await one.error("vm net disconnect web,new 2") == "no network 2, VM only has 2 networks"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("connect web x LAN", "invalid network position `x`: interfaces are numbered 0, 1, 2, ..."),
        ("connect web -1 LAN", "invalid network position `-1`: interfaces are numbered 0, 1, 2, ..."),
        ("disconnect web 1e3", "invalid network position `1e3`: interfaces are numbered 0, 1, 2, ..."),
        ('connect web 0 ""', "VLAN must be non-empty string"),
        ("connect web 0 4096", "invalid VLAN (0 <= vlan < 4096)"),
        ("connect web 0 LAN all", "`all` is a reserved word -- cannot use for bridge name"),
        ("connect web 2 LAN", "no network 2, VM only has 2 networks"),
        ("add web", "which interfaces? expected netspecs, such as `LAN` or `br2,100`"),
        ("add web LAN LAN,bogusmac", "malformed netspec, invalid mac address: "),
        ("add web" + 63 * " LAN", "web: a VM can have 64 network interfaces"),
    ],
)
async def test_what_fails_gives_no_number_to_an_alias(line: str, sentence: str) -> None:
    one = bench()
    assert (await one.error(f"vm net {line}")).startswith(sentence)
    assert not {"ResolveVlans", "WireVms", "ConnectInterfaces", "AddInterfaces"} & set(asked(one))


@pytest.mark.parametrize("line", ["connect no 0 LAN", "disconnect no 0", "add no LAN"])
async def test_a_vm_that_is_not_there(line: str) -> None:
    one = bench()
    one.bus.reactions[GetVms] = NotFoundError("vm not found: no")
    assert await one.error(f"vm net {line}") == "vm not found: no"
    assert asked(one) == ["GetVms"]


async def test_those_that_are_there_are_served() -> None:
    one = bench()
    one.bus.reactions[GetVms] = VmList(vms=(make_vm(0, "web"),), missing=("no",))
    one.bus.reactions[ConnectInterfaces] = InterfaceReport(errors=("the kernel refuses",), warnings=("no netem",))
    (group,) = await one.run("vm net connect web,no 0 LAN")
    (response,) = group.responses
    assert (response.text, response.error) == ("warning: no netem", "the kernel refuses\nvm not found: no")


async def test_no_vms_at_all_is_no_error() -> None:
    one = bench()
    one.bus.reactions[GetVms] = VmList(vms=())
    assert await one.text("vm net disconnect all 0") == ""
    assert asked(one) == ["GetVms"]


@pytest.mark.parametrize("error", [UnavailableError("out of VLANs"), InvalidError("no such VLAN")])
async def test_an_alias_that_cannot_be_resolved(error: Exception) -> None:
    one = bench()
    one.bus.reactions[ResolveVlans] = error  # type: ignore[assignment]  # a BusError
    assert await one.error("vm net connect web 0 LAN") == str(error)
    assert "ConnectInterfaces" not in asked(one)


@pytest.mark.parametrize(
    ("line", "returned"),
    [
        ("connect web 0 LAN", ReturnVlans(aliases=("minimega//LAN",))),
        ("connect web 0 77", ReturnVlans(numbers=(77,))),
        ("add web LAN 77", ReturnVlans(aliases=("minimega//LAN",), numbers=(77,))),
    ],
)
@pytest.mark.parametrize("outcome", [UnavailableError("no"), InterfaceReport(errors=("no",))])
async def test_what_could_be_plugged_in_nowhere_leaves_no_vlan(line: str, returned: Message, outcome: Any) -> None:
    one = bench()
    one.bus.reactions |= {GetVms: VmList(vms=(make_vm(0, "web"),))}
    one.bus.reactions |= {ConnectInterfaces: outcome, AddInterfaces: outcome}
    assert await one.error(f"vm net {line}") == "no"
    assert one.bus.asked[-1].request == returned


async def test_vms_that_expect_no_interface_leave_no_vlan() -> None:
    one = bench()
    one.bus.reactions[WireVms] = UnavailableError("cannot record the request")
    assert await one.error("vm net add web LAN") == "cannot record the request"
    assert one.bus.asked[-1].request == ReturnVlans(aliases=("minimega//LAN",))


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("connect web,db 0 LAN", InterfaceReport(errors=("web: no",))),
        ("connect web 0 LAN", DeadlineError("no answer in time")),
        ("disconnect web 0", UnavailableError("no")),
    ],
)
async def test_vlans_that_something_may_be_in_stay(line: str, outcome: Any) -> None:
    one = bench()
    one.bus.reactions[GetVms] = VmList(vms=(make_vm(0, "web"), make_vm(1, "db"))[: 2 if "db" in line else 1])
    one.bus.reactions[ConnectInterfaces] = outcome
    assert await one.error(f"vm net {line}")
    assert "ReturnVlans" not in asked(one)


async def test_several_hosts_of_which_one_has_the_vm() -> None:
    def react(asked: Asked) -> Message:
        if asked.to == "vm@n2":
            return VmList(vms=(make_vm(0, "web"),))
        raise NotFoundError("vm not found: web")

    one = bench(hosts=("n1", "n2"))
    one.bus.reactions[GetVms] = react
    (group,) = await one.run("vm net connect web 0 LAN")
    assert [(response.host, response.error) for response in group.responses] == [("n2", "")]
    assert one.bus.asked[-1].to == "network@n2"
