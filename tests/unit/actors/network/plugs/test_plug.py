"""The network actor's step: interfaces of guests from launch to flush, and requests that are carried out together."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from actors.network.names import VENDORS
from actors.network.operations import Plug, Worked
from actors.network.plugs.plugging import MAX_INTERFACES
from bus.messages.base import Ack
from bus.messages.network import (
    AddInterfaces,
    ConnectInterfaces,
    EndNetworks,
    ForgetGuestNics,
    InterfaceReport,
    Netspec,
    Plugged,
    PlugGuests,
    PlugReport,
    ShapeInterfaces,
    Shaping,
    UnplugGuests,
)
from bus.messages.vlan import DISCONNECTED
from shims.network.base import Port, Segment
from tests.unit.actors.network.model import PID, Model, guest, net, told

MAC = "00:16:3e:00:00:01"


def unplugged(model: Model, *vm_ids: int) -> dict[int, str]:
    """Unplug guests; returns the errors."""
    reply = model.ask(UnplugGuests(vm_ids=vm_ids))
    assert isinstance(reply, PlugReport)
    return {one.vm_id: one.error for one in reply.guests}


def test_a_guest_gets_its_interfaces_with_names_and_addresses() -> None:
    model = Model()
    (reply,) = model.plug(guest(1, net(101), net(100, bridge="br", mac=MAC), net(DISCONNECTED)))
    assert (reply.error, reply.taps, reply.macs[1]) == ("", ("mega_tap0", "mega_tap1", "mega_tap2"), MAC)
    assert len(set(reply.macs)) == 3
    assert all(re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac) and mac[:8] in VENDORS for mac in reply.macs)
    assert list(model.fabric.ports.values()) == [
        Port("mega_tap0", Segment("mega_bridge", 101), PID, "veth0", reply.macs[0]),
        Port("mega_tap1", Segment("br", 100), PID, "veth1", MAC),
        Port("mega_tap2", None, PID, "veth2", reply.macs[2]),
    ]
    assert told(model.effects) == [
        ("connected", "mega_tap0", "mega_bridge", 101),
        ("connected", "mega_tap1", "br", 100),
    ]


def test_names_are_never_given_twice() -> None:
    model = Model()
    model.plug(guest(1, net(1)))
    model.ask(ForgetGuestNics(vm_ids=(1,)))
    assert model.plug(guest(2, net(1)))[0].taps == ("mega_tap1",)


def test_a_guest_that_has_ended_comes_back_as_it_was() -> None:
    model = Model()
    (first,) = model.plug(guest(1, net(101), net(102)))
    model.ask(ConnectInterfaces(vms=(guest(1),), index=0, vlan=200, bridge="other"))
    model.ask(ShapeInterfaces(vms=(guest(1),), index=1, shaping=Shaping(rate_bps=5_000)))
    assert unplugged(model, 1) == {1: ""}
    assert (model.fabric.ports, model.table.guests[1].pid) == ({}, 0)
    (again,) = model.plug(guest(1, net(7)))
    assert (again.taps, again.macs) == (first.taps, first.macs)
    assert [port.segment for port in model.fabric.ports.values()] == [
        Segment("other", 200),
        Segment("mega_bridge", 102),
    ]
    assert model.fabric.shapings == {"mega_tap1": Shaping(rate_bps=5_000)}


def test_what_is_unplugged_is_told_and_asked_of_the_kernel_once() -> None:
    model = Model()
    model.plug(guest(1, net(101), net(DISCONNECTED)))
    model.effects.clear()
    assert unplugged(model, 1, 99) == {1: "", 99: ""}
    assert told(model.effects) == [("disconnected", "mega_tap0", "", DISCONNECTED)]
    calls = len(model.fabric.calls)
    assert unplugged(model, 1) == {1: ""}
    assert len(model.fabric.calls) == calls


def test_devices_that_stay_are_reported_and_can_be_removed_later() -> None:
    model = Model()
    model.plug(guest(1, net(101)), guest(2, net(101)))
    model.fabric.refuses = {"mega_tap0"}
    assert unplugged(model, 1, 2) == {1: "mega_tap0: the kernel refused", 2: ""}
    assert list(model.fabric.ports) == ["mega_tap0"]
    model.fabric.refuses = set()
    assert unplugged(model, 1) == {1: ""}
    assert model.fabric.ports == {}


def test_forgetting_removes_devices_records_and_mirrors() -> None:
    model = Model()
    model.plug(guest(1, net(101)), guest(2))
    assert model.ask(ForgetGuestNics(vm_ids=(1, 2, 3))) == Ack()
    assert (model.table.guests, model.fabric.ports, model.table.is_empty) == ({}, {}, True)


def test_a_guest_is_forgotten_even_if_its_devices_stay_which_an_audit_removes() -> None:
    model = Model()
    model.plug(guest(1, net(101)), guest(2, net(101)))
    model.fabric.refuses = {"remove_ports"}
    assert model.ask(ForgetGuestNics(vm_ids=(1,))) == Ack()
    assert (list(model.table.guests), list(model.fabric.ports)) == ([2], ["mega_tap0", "mega_tap1"])
    model.fabric.refuses = set()
    model.audit()
    assert list(model.fabric.ports) == ["mega_tap1"]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("networks", "fields", "sentence"),
    [
        ([net(4096)], {}, "invalid VLAN (0 <= vlan < 4096)"),
        ([net(-2)], {}, "invalid VLAN"),
        ([net(1, bridge="a" * 16)], {}, "invalid bridge name"),
        ([net(1, bridge="a/b")], {}, "invalid bridge name, `a/b` is not 1 to 15 letters"),
        ([net(1, bridge="x\n\x1b")], {}, "invalid bridge name, `x\\n\\x1b`"),
        ([net(1, bridge="all")], {}, "`all` is a reserved word -- cannot use for bridge name"),
        ([net(1, bridge="")], {}, "invalid bridge name"),
        ([net(1, bridge="eth0")], {}, "eth0 is an interface of this host and no bridge of minibus"),
        ([net(1, mac="00:00:00:00:00:00")], {}, "cannot be the address of an interface"),
        ([net(1, mac="01:16:3e:00:00:00")], {}, "cannot be the address of an interface"),
        ([net(1, mac="AA:16:3e:00:00:00")], {}, "is no hardware address"),
        ([net(1, mac="x" * 5000)], {}, "is no hardware address"),
        (
            [net(1, mac=MAC), net(1, mac=MAC)],
            {},
            f"two of its interfaces have the same hardware address {MAC} in VLAN 1",
        ),
        ([net(1)] * (MAX_INTERFACES + 1), {}, "65 interfaces are too many for one VM: it can have 64"),
        ([net(1)], {"pid": 0}, "it has no process"),
        ([net(1)], {"pid": 2**31 - 1}, "it ended before its interfaces could be made"),
    ],
)
def test_what_cannot_be_plugged_in_leaves_nothing_and_harms_no_other(
    networks: list[Netspec], fields: dict[str, Any], sentence: str
) -> None:
    model = Model()
    bad, good = model.plug(guest(1, *networks, **fields), guest(2, net(1)))
    assert sentence in bad.error
    assert (bad.taps, good.error) == ((), "")
    assert (list(model.table.guests), list(model.fabric.ports)) == ([2], list(good.taps))


@pytest.mark.parametrize("refused", ["mega_tap1", "add_ports"])
def test_of_one_guest_all_interfaces_are_made_or_none(refused: str) -> None:
    model = Model()
    model.fabric.refuses = {refused}
    bad, good = model.plug(guest(1, net(1), net(2), net(3)), guest(2, net(1)))
    assert "the kernel refused" in bad.error
    assert set(model.fabric.ports) == set(good.taps)
    assert 1 not in model.table.guests
    model.fabric.refuses = set()
    assert model.plug(guest(1, net(1)))[0].error == ""


def test_a_relaunch_that_fails_keeps_the_names() -> None:
    model = Model()
    (first,) = model.plug(guest(1, net(1)))
    unplugged(model, 1)
    model.fabric.refuses = {"mega_tap0"}
    assert model.plug(guest(1))[0].error
    model.fabric.refuses = set()
    again = model.plug(guest(1))[0]
    assert (again.taps, again.networks) == (first.taps, first.networks)
    assert again.revision > first.revision


def test_an_address_is_refused_while_another_guest_lives_with_it() -> None:
    model = Model()
    model.plug(guest(1, net(5, mac=MAC)))
    assert model.plug(guest(2, net(5, mac=MAC)))[0].error == (
        f"VM vm1 has the same hardware address {MAC} in VLAN 5 of mega_bridge, where each needs one of its own"
    )
    assert model.plug(guest(3, net(6, mac=MAC)))[0].error == ""
    unplugged(model, 1)
    assert model.plug(guest(2, net(5, mac=MAC)))[0].error == ""
    assert "VM vm2 has" in model.plug(guest(1))[0].error
    one, two = model.plug(guest(8, net(9, mac=MAC)), guest(9, net(9, mac=MAC)))
    assert (one.error, "VM vm8 has" in two.error) == ("", True)


def test_names_of_other_namespaces_are_not_told() -> None:
    model = Model()
    model.plug(guest(1, net(5, mac=MAC), namespace="secret"))
    error = model.plug(guest(2, net(5, mac=MAC)))[0].error
    assert error.startswith(f"a VM of another namespace has the same hardware address {MAC} in VLAN 5")


def test_what_the_kernel_cannot_do_is_a_warning() -> None:
    model = Model()
    model.plug(guest(1, net(1)))
    unplugged(model, 1)
    model.ask(ShapeInterfaces(vms=(guest(1),), shaping=Shaping(rate_bps=5_000)))
    model.fabric.lacks = ("no delays here",)
    assert model.plug(guest(1))[0].warnings == ("no delays here",)
    model.fabric.refuses = {"shape"}
    (again,) = model.plug(guest(1))
    assert (again.error, again.warnings) == ("", ("the traffic of mega_tap0 is not shaped: shape: the kernel refused",))
    assert model.table.guests[1].nics[0].shaping == Shaping()


def test_if_the_fabric_cannot_be_entered_everybody_is_told() -> None:
    model = Model()
    model.holds = True
    plug = model.send(PlugGuests(guests=(guest(1, net(1)), guest(2, net(1)))))
    model.feed(Worked(number=model.held[0].number, failed="no network namespaces here", code="unavailable"))
    reply = model.answers[plug]
    assert isinstance(reply, PlugReport)
    assert [one.error for one in reply.guests] == ["no network namespaces here"] * 2
    assert model.table.is_empty


# ---------------------------------------------------------------- further interfaces


def test_a_living_guest_gets_further_interfaces_at_once() -> None:
    model = Model()
    model.plug(guest(1, net(1)))
    assert model.ask(AddInterfaces(vms=(guest(1, net(2), net(3, mac=MAC)),))) == InterfaceReport()
    assert [(port.peer, port.segment) for port in model.fabric.ports.values()] == [
        ("veth0", Segment("mega_bridge", 1)),
        ("veth1", Segment("mega_bridge", 2)),
        ("veth2", Segment("mega_bridge", 3)),
    ]


def test_one_that_does_not_live_gets_them_when_it_does() -> None:
    model = Model()
    assert model.ask(AddInterfaces(vms=(guest(1, net(2), pid=0),))) == InterfaceReport()
    assert (model.fabric.ports, model.taps(1)) == ({}, ["mega_tap0"])
    assert model.plug(guest(1))[0].taps == ("mega_tap0",)
    assert list(model.fabric.ports) == ["mega_tap0"]


def test_a_vm_without_interfaces_gets_its_first() -> None:
    model = Model()
    model.plug(guest(1))
    assert model.ask(AddInterfaces(vms=(guest(1, net(2)),))) == InterfaceReport()
    assert model.fabric.ports["mega_tap0"].pid == PID


def test_further_interfaces_that_fail_leave_those_that_are_there() -> None:
    model = Model()
    model.plug(guest(1, net(1)), guest(2, net(1)))
    model.fabric.refuses = {"mega_tap3"}
    reply = model.ask(AddInterfaces(vms=(guest(1, net(2), net(3)), guest(2, net(2)), guest(3, net(5000)))))
    assert reply == InterfaceReport(
        errors=("vm1: mega_tap3: the kernel refused", "vm3: invalid VLAN (0 <= vlan < 4096)")
    )
    assert set(model.fabric.ports) == {"mega_tap0", "mega_tap1", "mega_tap4"}
    assert (model.taps(1), model.table.guests[1].pid) == (["mega_tap0"], PID)
    full = guest(1, *[net(1)] * MAX_INTERFACES)
    assert model.ask(AddInterfaces(vms=(full,))) == InterfaceReport(
        errors=("vm1: 65 interfaces are too many for one VM: it can have 64",)
    )


def test_a_vm_that_was_never_plugged_in_keeps_what_it_was_configured_with() -> None:
    model = Model()
    asked = msgspec.structs.replace(guest(1, net(2), pid=0), configured=(net(5, mac=MAC), net(6)))
    assert model.ask(AddInterfaces(vms=(asked,))) == InterfaceReport()
    model.plug(guest(1, net(5, mac=MAC), net(6)))
    assert [(port.peer, port.segment) for port in model.fabric.ports.values()] == [
        ("veth0", Segment("mega_bridge", 5)),
        ("veth1", Segment("mega_bridge", 6)),
        ("veth2", Segment("mega_bridge", 2)),
    ]
    model.ask(AddInterfaces(vms=(asked,)))
    assert len(model.taps(1)) == 4, "it is known now"


# ---------------------------------------------------------------- many at once


def test_guests_that_wait_are_plugged_in_together() -> None:
    model = Model()
    model.holds = True
    first = model.send(PlugGuests(guests=(guest(0, net(1)),)))
    others = [model.send(PlugGuests(guests=(guest(number, net(1)),))) for number in range(1, 10)]
    model.fabric.refuses = {"mega_tap5"}
    model.release()
    assert model.fabric.calls.count("add_ports") == 2
    errors = [reply.guests[0].error for one in (first, *others) if isinstance(reply := model.answers[one], PlugReport)]
    assert [bool(error) for error in errors] == [number == 5 for number in range(10)]


def test_nobody_overtakes_a_request_about_the_same_guest() -> None:
    model = Model()
    model.holds = True
    model.send(PlugGuests(guests=(guest(1, net(1)),)))
    model.send(UnplugGuests(vm_ids=(1,)))
    model.send(PlugGuests(guests=(guest(1), guest(2, net(1)))))
    model.send(UnplugGuests(vm_ids=(3,)))
    last = model.send(PlugGuests(guests=(guest(4, net(1)),)))
    model.release()
    assert set(model.fabric.ports) == {"mega_tap0", "mega_tap1", "mega_tap2"}
    assert isinstance(model.answers[last], PlugReport)
    assert model.table.is_empty is False


def test_nor_the_end_of_a_namespace() -> None:
    model = Model()
    model.holds = True
    model.send(PlugGuests(guests=(guest(1, net(1)),)))
    model.send(UnplugGuests(vm_ids=(9,)))
    model.send(EndNetworks())
    model.send(PlugGuests(guests=(guest(2, net(1)),)))
    model.release()
    assert list(model.table.guests) == [2]


def test_a_batch_has_an_end() -> None:
    model = Model()
    model.holds = True
    model.send(PlugGuests(guests=(guest(0, net(1)),)))
    for start in range(1, 1502, 100):
        model.send(PlugGuests(guests=tuple(guest(number, net(1)) for number in range(start, start + 100))))
    operation = model.held[0].operation
    assert isinstance(operation, Plug)
    model.release()
    assert model.fabric.calls.count("add_ports") == 3
    assert len(model.fabric.ports) == 1601


def test_an_unknown_outcome_is_ignored() -> None:
    model = Model()
    assert model.feed(Worked(number=12)) == []


def test_each_guest_of_a_request_is_reported_once() -> None:
    model = Model()
    reply = model.plug(guest(1, net(1)), guest(1, net(1)))
    mac = reply[0].macs[0]
    assert reply == (Plugged(vm_id=1, taps=("mega_tap0",), macs=(mac,), networks=(net(1, mac=mac),), revision=1),)
    assert unplugged(model, 1, 1) == {1: ""}
