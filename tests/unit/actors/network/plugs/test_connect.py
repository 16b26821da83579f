"""The network actor's step: interfaces that are plugged in elsewhere, and their constraints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.actor.step import Ask, AskFailed, Effect
from bus.messages.base import Ack
from bus.messages.network import (
    AddInterfaces,
    ConnectInterfaces,
    InterfaceReport,
    ShapeInterfaces,
    Shaping,
    UnplugGuests,
)
from bus.messages.vlan import DISCONNECTED
from bus.messages.vm import ReportInterfaces, VmInterfaces
from shims.network.base import Segment
from tests.unit.actors.network.model import Model, guest, net, told
from tests.unit.actors.steps import answer, only

MAC = "00:16:3e:00:00:01"
OK = InterfaceReport()


def two_guests() -> Model:
    """One with two interfaces, one with one."""
    model = Model()
    model.plug(guest(1, net(101), net(102, bridge="br")), guest(2, net(101, mac=MAC)))
    model.effects.clear()
    return model


def connect(index: int, vlan: int, *vm_ids: int, **fields: Any) -> ConnectInterfaces:
    """The request."""
    return ConnectInterfaces(vms=tuple(map(guest, vm_ids)), index=index, vlan=vlan, **fields)


def shape(*vm_ids: int, index: int = -1, clear: bool = False, **fields: Any) -> ShapeInterfaces:
    """The request."""
    return ShapeInterfaces(vms=tuple(map(guest, vm_ids)), index=index, clear=clear, shaping=Shaping(**fields))


@pytest.mark.parametrize(
    ("request_", "segment"),
    [
        (connect(0, 200, 1), Segment("mega_bridge", 200)),
        (connect(0, 200, 1, bridge="new"), Segment("new", 200)),
        (connect(0, 0, 1), Segment("mega_bridge", 0)),
        (connect(0, DISCONNECTED, 1), None),
        (connect(0, DISCONNECTED, 1, bridge="ignored"), None),
    ],
)
def test_an_interface_goes_where_it_is_told(request_: ConnectInterfaces, segment: Segment | None) -> None:
    model = two_guests()
    assert model.ask(request_) == OK
    assert model.fabric.ports["mega_tap0"].segment == segment
    nic = model.table.guests[1].nics[0]
    assert (nic.segment, nic.bridge) == (segment, segment.bridge if segment else "")
    expected = ("connected", *segment) if segment else ("disconnected", "", DISCONNECTED)
    assert told(model.effects) == [(expected[0], "mega_tap0", *expected[1:])]


def tellings(effects: list[Effect]) -> list[tuple[Ask, tuple[VmInterfaces, ...]]]:
    """What `vm` is told."""
    return [(ask, ask.body.vms) for ask in only(Ask, effects) if isinstance(ask.body, ReportInterfaces)]


def test_the_owner_of_the_vm_is_told() -> None:
    model = two_guests()
    macs = [nic.mac for nic in model.table.guests[1].nics]
    model.ask(connect(0, 200, 1, alias="minimega//DMZ", bridge="new"))
    model.ask(AddInterfaces(vms=(guest(2, net(7)),)))
    (first, told_first), (second, told_second) = tellings(model.effects)
    specs = (net(200, alias="minimega//DMZ", mac=macs[0], bridge="new"), net(102, bridge="br", mac=macs[1]))
    assert first.to == second.to == "vm"
    assert told_first == (VmInterfaces(vm_id=1, taps=("mega_tap0", "mega_tap1"), networks=specs, revision=2),)
    assert [([spec.vlan for spec in one.networks], one.revision) for one in told_second] == [([101, 7], 3)]
    assert model.feed(answer(second, Ack())) == []
    ((again, told_again),) = tellings(model.feed(AskFailed(tag=first.tag, code="deadline", message="no answer")))
    assert told_again[0].networks == specs, "it is told until it has heard it"
    assert model.feed(AskFailed(tag=again.tag, code="invalid", message="no")) == []
    assert model.table.tellings == {}


def test_of_hundreds_it_is_told_in_parts() -> None:
    model = Model()
    model.plug(*(guest(number, net(1)) for number in range(250)))
    model.ask(connect(0, 2, *range(250)))
    sizes = [len(vms) for _, vms in tellings(model.effects)]
    assert sizes == [100, 100, 50]
    assert len(model.table.tellings) == 3


def test_nobody_is_told_what_came_to_nothing() -> None:
    model = two_guests()
    model.fabric.refuses = {"mega_tap0", "mega_tap3"}
    model.ask(connect(0, 200, 1))
    model.ask(AddInterfaces(vms=(guest(1, net(7)),)))
    assert tellings(model.effects) == []


def test_what_somebody_has_removed_is_made_again_at_once() -> None:
    model = two_guests()
    del model.fabric.ports["mega_tap0"]
    assert model.ask(connect(0, 200, 1)) != OK
    assert model.fabric.ports["mega_tap0"].segment == Segment("mega_bridge", 101)
    assert model.ask(connect(0, 200, 1)) == OK


def test_the_bridge_stays_unless_another_is_named() -> None:
    model = two_guests()
    model.ask(connect(1, 7, 1))
    assert model.table.guests[1].nics[1].segment == Segment("br", 7)
    model.ask(connect(1, DISCONNECTED, 1))
    model.ask(connect(1, 8, 1))
    assert model.table.guests[1].nics[1].segment == Segment("mega_bridge", 8)


def test_who_is_there_already_is_left_alone() -> None:
    model = two_guests()
    assert model.ask(connect(0, 101, 1)) == OK
    assert (model.fabric.calls.count("plug"), told(model.effects)) == (0, [])
    model.ask(connect(0, DISCONNECTED, 1))
    model.ask(connect(0, DISCONNECTED, 1))
    assert model.fabric.calls.count("plug") == 1


def test_of_a_guest_that_does_not_live_the_place_is_noted() -> None:
    model = two_guests()
    model.ask(UnplugGuests(vm_ids=(1,)))
    assert model.ask(connect(0, 300, 1)) == OK
    model.plug(guest(1))
    assert model.fabric.ports["mega_tap0"].segment == Segment("mega_bridge", 300)


@pytest.mark.parametrize(
    ("request_", "failure"),
    [
        (connect(-1, 5, 1), ("invalid", "the first interface is number 0, there is no -1")),
        (connect(0, 4096, 1), ("invalid", "invalid VLAN (0 <= vlan < 4096)")),
        (connect(0, -2, 1), ("invalid", "invalid VLAN (0 <= vlan < 4096)")),
        (connect(0, 1, 1, bridge="all"), ("invalid", "`all` is a reserved word -- cannot use for bridge name")),
    ],
)
def test_what_cannot_be_meant(request_: ConnectInterfaces, failure: tuple[str, str]) -> None:
    assert two_guests().refused(request_) == failure


@pytest.mark.parametrize(
    ("request_", "errors"),
    [
        (connect(2, 5, 1), ("no network 2, VM only has 2 networks",)),
        (
            connect(1, 5, 1, 2, 3),
            ("vm2: no network 1, VM only has 1 network", "vm3: no network 1, VM only has 0 networks"),
        ),
        (connect(0, 5, 1, bridge="eth0"), ("eth0 is an interface of this host and no bridge of minibus",)),
    ],
)
def test_each_vm_has_its_own_error(request_: ConnectInterfaces, errors: tuple[str, ...]) -> None:
    model = two_guests()
    reply = model.ask(request_)
    assert isinstance(reply, InterfaceReport)
    assert [one[: len(two)] for one, two in zip(reply.errors, errors, strict=True)] == list(errors)
    moved = model.table.guests[1].nics[1].vlan == 5
    assert moved == (request_.index == 1)


def test_an_interface_that_cannot_be_moved_is_where_it_was() -> None:
    model = two_guests()
    model.fabric.refuses = {"mega_tap0"}
    assert model.ask(connect(0, 9, 1, 2)) == InterfaceReport(errors=("vm1: mega_tap0: the kernel refused",))
    places = [guest_.nics[0].segment for guest_ in model.table.guests.values()]
    assert places == [Segment("mega_bridge", 101), Segment("mega_bridge", 9)]
    assert model.fabric.ports["mega_tap0"].segment == places[0]


def test_two_guests_with_the_same_address_cannot_meet() -> None:
    model = two_guests()
    model.plug(guest(3, net(5, mac=MAC)))
    reply = model.ask(connect(0, 101, 3))
    sentence = f"VM vm2 has the same hardware address {MAC} in VLAN 101 of mega_bridge, where each needs one of its own"
    assert reply == InterfaceReport(errors=(sentence,))
    assert model.fabric.ports["mega_tap3"].segment == Segment("mega_bridge", 5)


# ---------------------------------------------------------------- constraints


def test_constraints_add_up_and_survive_a_move() -> None:
    model = two_guests()
    assert model.ask(shape(1, index=0, rate_bps=10_000, rate_text="10kbit")) == OK
    assert model.ask(shape(1, index=0, delay_us=5, jitter_us=1)) == OK
    assert model.ask(shape(1, index=0, loss_percent=0.5, delay_us=7)) == OK
    wanted = Shaping(rate_bps=10_000, rate_text="10kbit", delay_us=7, jitter_us=1, loss_percent=0.5)
    assert model.fabric.shapings == {"mega_tap0": wanted}
    model.ask(connect(0, 9, 1))
    assert model.table.guests[1].nics[0].shaping == wanted
    assert model.ask(shape(1, index=0, clear=True, corrupt_percent=1)) == OK
    assert model.fabric.shapings == {"mega_tap0": Shaping(corrupt_percent=1)}


def test_all_interfaces_of_all_guests() -> None:
    model = two_guests()
    assert model.ask(shape(1, 2, 9, rate_bps=10_000)) == OK
    assert model.fabric.shapings == dict.fromkeys(("mega_tap0", "mega_tap1", "mega_tap2"), Shaping(rate_bps=10_000))
    assert model.ask(shape(1, 2, clear=True)) == OK
    assert set(model.fabric.shapings.values()) == {Shaping()}
    calls = model.fabric.calls.count("shape")
    assert model.ask(shape(1, clear=True)) == OK
    assert model.fabric.calls.count("shape") == calls


@pytest.mark.parametrize(
    "fields",
    [
        {"rate_bps": -1},
        {"rate_bps": 1 << 62},
        {"delay_us": -1},
        {"delay_us": 1 << 62},
        {"jitter_us": -1},
        {"loss_percent": -0.1},
        {"loss_percent": 101.0},
        {"loss_percent": float("nan")},
        {"corrupt_percent": float("inf")},
        {"rate_text": "x" * 100},
    ],
)
def test_constraints_that_nobody_can_mean(fields: dict[str, Any]) -> None:
    model = two_guests()
    assert model.refused(shape(1, **fields))[0] == "invalid"
    assert "shape" not in model.fabric.calls


def test_an_index_that_is_none() -> None:
    model = two_guests()
    assert model.ask(shape(1, 2, index=1, rate_bps=1_000)) == InterfaceReport(
        errors=("vm2: invalid tap index specified: 1",)
    )
    assert model.ask(shape(1, index=5, rate_bps=1_000)) == InterfaceReport(errors=("invalid tap index specified: 5",))
    assert model.refused(shape(1, index=-2, rate_bps=1_000)) == ("invalid", "invalid tap index specified: -2")


def test_what_the_kernel_refuses_changes_nothing_and_what_it_lacks_is_told() -> None:
    model = two_guests()
    model.ask(shape(1, index=0, rate_bps=1_000))
    model.fabric.refuses = {"mega_tap0"}
    assert model.ask(shape(1, index=0, delay_us=1)) == InterfaceReport(errors=("mega_tap0: the kernel refused",))
    assert model.table.guests[1].nics[0].shaping == Shaping(rate_bps=1_000)
    model.fabric.refuses, model.fabric.lacks = set(), ("no delays here",)
    assert model.ask(shape(1, 2, delay_us=1)) == InterfaceReport(warnings=("no delays here",))


def test_constraints_of_a_guest_that_does_not_live_wait() -> None:
    model = two_guests()
    model.ask(UnplugGuests(vm_ids=(2,)))
    assert model.ask(shape(2, rate_bps=3_000)) == OK
    assert model.fabric.shapings == {}
    model.plug(guest(2))
    assert model.fabric.shapings == {"mega_tap2": Shaping(rate_bps=3_000)}
    assert model.fabric.ports["mega_tap2"] == replace(model.fabric.ports["mega_tap2"], mac=MAC)
