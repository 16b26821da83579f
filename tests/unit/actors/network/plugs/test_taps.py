"""The network actor's step: host taps, mirrors, trunks, bridges, and the end of all that a namespace has."""

from __future__ import annotations

from typing import Any

import pytest

from actors.network import views
from bus.messages.base import Ack
from bus.messages.network import (
    BridgeInfo,
    Bridges,
    ClearMirrors,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    HostTap,
    HostTaps,
    InterfaceReport,
    MirrorTap,
    TrunkBridge,
    UnplugGuests,
)
from bus.messages.vlan import DISCONNECTED
from shims.network.base import HostPort, Segment
from tests.unit.actors.network.model import Model, guest, net, told


def made(model: Model, *, namespace: str = "minimega", **fields: Any) -> HostTap:
    """A host tap."""
    reply = model.ask(CreateTap(**{"vlan": 101, **fields}), namespace)
    assert isinstance(reply, HostTaps), reply
    return reply.taps[0]


# ---------------------------------------------------------------- host taps


def test_a_host_tap_is_made_told_listed_and_deleted() -> None:
    model = Model()
    tap = made(model, name="foo", address="10.0.0.1/24", bridge="br")
    assert tap == HostTap(name="foo", namespace="minimega", bridge="br", vlan=101, address="10.0.0.1/24")
    assert model.fabric.taps == {"foo": HostPort("foo", Segment("br", 101), ("10.0.0.1/24",))}
    assert views.host_taps(model.table, "minimega").taps == (tap,)
    assert views.host_taps(model.table, "other").taps == ()
    assert model.ask(DeleteTaps(name="foo")) == InterfaceReport()
    assert (model.fabric.taps, model.table.is_empty) == ({}, True)
    assert told(model.effects) == [("connected", "foo", "br", 101), ("disconnected", "foo", "", DISCONNECTED)]


def test_generated_names_are_new_on_the_host_and_among_the_guests() -> None:
    model = Model()
    model.fabric.host |= {"mega_tap1", "mega_tap2"}
    made(model, name="mega_tap4")
    model.plug(guest(1, net(1)))
    assert made(model).name == "mega_tap3"
    model.plug(guest(2, net(1)))
    assert model.taps(2) == ["mega_tap5"]
    model.ask(DeleteTaps(name="mega_tap3"))
    assert made(model).name == "mega_tap6"


@pytest.mark.parametrize(
    ("fields", "code", "sentence"),
    [
        ({"vlan": -1}, "invalid", "invalid VLAN (0 <= vlan < 4096)"),
        ({"vlan": 4096}, "invalid", "invalid VLAN (0 <= vlan < 4096)"),
        ({"name": "all"}, "invalid", "`all` is a reserved word -- cannot use for tap name"),
        ({"bridge": "all"}, "invalid", "`all` is a reserved word -- cannot use for bridge name"),
        ({"name": "a" * 16}, "invalid", "invalid tap name"),
        ({"name": ".."}, "invalid", "invalid tap name"),
        ({"name": "-a"}, "invalid", "invalid tap name"),
        ({"name": "a\n"}, "invalid", "invalid tap name"),
        ({"name": "\u00e4" * 9000}, "invalid", "invalid tap name"),
        ({"name": "lo"}, "invalid", "invalid tap name, every"),
        ({"name": "eth0"}, "conflict", "this host has an interface eth0 already"),
        ({"name": "there"}, "conflict", "tap already on bridge: there"),
        ({"name": "mega_tap0"}, "conflict", "tap already on bridge: mega_tap0"),
        ({"name": "mega_bridge"}, "conflict", "mega_bridge is the name of a bridge"),
        ({"bridge": "eth0"}, "conflict", "eth0 is an interface of this host and no bridge of minibus"),
        ({"bridge": "there"}, "invalid", "there is a host tap and no bridge"),
        ({"address": "10.0.0.1"}, "invalid", "expected one with the length of its network, e.g. 10.0.0.1/24"),
        ({"address": "10.0.0.1/33"}, "invalid", "invalid address `10.0.0.1/33`"),
        ({"address": "10.0.0.1/255.0.0.0/1"}, "invalid", "invalid address"),
        ({"address": "x" * 9000}, "invalid", "invalid address"),
        ({"address": "fe80::1%eth0/64"}, "invalid", "it is no host's"),
        ({"address": "224.0.0.1/4"}, "invalid", "it is no host's"),
        ({"address": "127.0.0.1/8"}, "invalid", "it is no host's"),
        ({"address": "::/0"}, "invalid", "it is no host's"),
        ({"address": "10.0.0.0/24"}, "invalid", "it stands for all of 10.0.0.0/24"),
        ({"address": "10.0.0.255/24"}, "invalid", "it stands for all of 10.0.0.0/24"),
        ({"address": "10.66.0.1/24"}, "unavailable", "10.66.0.1/24: the kernel refused"),
    ],
)
def test_a_tap_that_cannot_be_leaves_nothing(fields: dict[str, Any], code: str, sentence: str) -> None:
    model = Model()
    made(model, name="there")
    model.plug(guest(1, net(5)))
    model.fabric.refuses = {"10.66.0.1/24"}
    refusal = model.refused(CreateTap(**{"vlan": 5, **fields}))
    assert refusal[0] == code
    assert sentence in refusal[1]
    assert list(model.table.taps) == list(model.fabric.taps) == ["there"]


@pytest.mark.parametrize("address", ["10.0.0.1/32", "10.0.0.0/31", "fd00::1/64", "10.1.2.3/8", "fe80::1/64"])
def test_addresses_of_all_kinds(address: str) -> None:
    assert made(Model(), address=address).address == address


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nosuch", "unknown tap: nosuch"),
        ("mega_tap0", "not a host tap: mega_tap0"),
        ("theirs", "not a host tap in active namespace: theirs"),
    ],
)
def test_what_cannot_be_deleted(name: str, sentence: str) -> None:
    model = Model()
    made(model, name="theirs", namespace="other")
    model.plug(guest(1, net(5)))
    assert model.refused(DeleteTaps(name=name)) == ("not_found", sentence)


def test_all_are_deleted_but_those_of_others_and_those_that_stay() -> None:
    model = Model()
    assert model.ask(DeleteTaps(name="all")) == InterfaceReport()
    for name in ("a", "b", "c"):
        made(model, name=name)
    made(model, name="theirs", namespace="other")
    model.fabric.refuses = {"b"}
    assert model.ask(DeleteTaps(name="all")) == InterfaceReport(errors=("b: the kernel refused",))
    assert list(model.table.taps) == list(model.fabric.taps) == ["b", "theirs"]
    model.fabric.refuses = set()
    assert model.ask(DeleteTaps(name="all")) == InterfaceReport()
    assert list(model.fabric.taps) == ["theirs"]


# ---------------------------------------------------------------- mirrors


def with_mirror() -> Model:
    """A host tap that gets what passes a guest's interface."""
    model = Model()
    model.plug(guest(1, net(101)), guest(2, net(102), net(DISCONNECTED), net(7, bridge="other")))
    made(model, name="see")
    made(model, name="look")
    made(model, name="theirs", namespace="other")
    assert model.ask(MirrorTap(source="mega_tap0", destination="see")) == Ack()
    return model


def test_a_mirror_is_listed_with_its_tap_and_cleared() -> None:
    model = with_mirror()
    assert model.fabric.mirrors == {"see": "mega_tap0"}
    assert [(tap.name, tap.mirror_of) for tap in views.host_taps(model.table, "minimega").taps] == [
        ("look", ""),
        ("see", "mega_tap0"),
    ]
    assert model.ask(ClearMirrors(destination="see")) == Ack()
    assert (model.fabric.mirrors, model.table.mirrors) == ({}, {})


@pytest.mark.parametrize(
    ("source", "destination", "sentence"),
    [
        ("look", "look", "cannot mirror tap to itself"),
        ("nosuch", "look", "source tap is not on bridge: nosuch"),
        ("mega_tap2", "look", "source tap is not on bridge: mega_tap2"),
        ("look", "nosuch", "destination tap is not on bridge: nosuch"),
        ("look", "theirs", "destination tap is not on bridge: theirs"),
        ("theirs", "look", "source tap is not on bridge: theirs"),
        ("mega_tap3", "look", "interfaces on different bridges: other and mega_bridge"),
        ("mega_tap1", "see", "destination tap is already a mirror: see"),
        ("see", "look", "source tap is a mirror itself: see"),
        ("look", "mega_tap0", "destination tap is mirrored itself: mega_tap0"),
    ],
)
def test_mirrors_that_cannot_be(source: str, destination: str, sentence: str) -> None:
    model = with_mirror()
    assert model.refused(MirrorTap(source=source, destination=destination)) == ("invalid", sentence)
    assert model.fabric.mirrors == {"see": "mega_tap0"}


def test_a_mirror_that_the_kernel_refuses_is_none() -> None:
    model = with_mirror()
    model.fabric.refuses = {"look"}
    refusal = model.refused(MirrorTap(source="mega_tap1", destination="look"))
    assert refusal == ("unavailable", "look: the kernel refused")
    assert list(model.table.mirrors) == ["see"]
    model.fabric.refuses = {"see"}
    assert model.refused(ClearMirrors()) == ("unavailable", "see: the kernel refused")
    assert list(model.table.mirrors) == ["see"]


def test_mirrors_are_cleared_per_namespace() -> None:
    model = with_mirror()
    assert model.refused(ClearMirrors(destination="look")) == ("not_found", "not a mirror: look")
    assert model.refused(ClearMirrors(destination="see"), "other") == ("not_found", "not a mirror: see")
    assert model.ask(ClearMirrors(), "other") == Ack()
    assert list(model.fabric.mirrors) == ["see"]
    assert model.ask(ClearMirrors()) == Ack()
    assert model.fabric.mirrors == {}


@pytest.mark.parametrize("end", [DeleteTaps(name="see"), ForgetGuestNics(vm_ids=(1,))])
def test_a_mirror_ends_with_either_tap(end: Any) -> None:
    model = with_mirror()
    model.ask(end)
    assert (model.fabric.mirrors, model.table.mirrors) == ({}, {})


def elsewhere(vlan: int, *, vm_id: int = 1, index: int = 0, bridge: str = "") -> ConnectInterfaces:
    """An interface goes there."""
    return ConnectInterfaces(vms=(guest(vm_id),), index=index, vlan=vlan, bridge=bridge)


TORN = InterfaceReport(warnings=("mega_tap0 is not copied to see any more: they are on different bridges",))


@pytest.mark.parametrize("lives", [True, False])
def test_a_mirror_ends_when_its_ends_get_to_different_bridges(lives: bool) -> None:
    model = with_mirror()
    if not lives:
        model.ask(UnplugGuests(vm_ids=(1,)))
    assert model.ask(elsewhere(300)) == InterfaceReport(), "another VLAN of the bridge will do"
    assert model.ask(elsewhere(DISCONNECTED)) == InterfaceReport(), "it may come back"
    assert list(model.table.mirrors) == ["see"]
    assert model.ask(elsewhere(300, bridge="other")) == TORN
    assert (model.fabric.mirrors, model.table.mirrors) == ({}, {})
    assert model.ask(elsewhere(300, bridge="mega_bridge")) == InterfaceReport()
    model.plug(guest(1))
    assert model.fabric.mirrors == {}


def test_a_mirror_stays_when_its_source_does() -> None:
    model = with_mirror()
    model.fabric.refuses = {"mega_tap0"}
    assert model.ask(elsewhere(300, bridge="other")) == InterfaceReport(errors=("mega_tap0: the kernel refused",))
    model.fabric.refuses = set()
    model.audit()
    assert (model.fabric.mirrors, list(model.table.mirrors)) == ({"see": "mega_tap0"}, ["see"])


def test_what_the_kernel_goes_on_copying_is_ended_by_an_audit() -> None:
    model = with_mirror()
    model.fabric.refuses = {"see"}
    assert model.ask(elsewhere(300, bridge="other")) == TORN
    assert model.fabric.mirrors == {"see": "mega_tap0"}
    model.fabric.refuses = set()
    model.audit()
    assert model.fabric.mirrors == {}


def test_a_mirror_comes_back_with_its_guest() -> None:
    model = with_mirror()
    model.ask(UnplugGuests(vm_ids=(1,)))
    assert model.fabric.mirrors == {}
    model.plug(guest(1))
    assert model.fabric.mirrors == {"see": "mega_tap0"}


def test_a_mirror_between_guests_waits_for_both() -> None:
    model = with_mirror()
    model.ask(ClearMirrors())
    assert model.ask(MirrorTap(source="mega_tap1", destination="mega_tap0")) == Ack()
    model.ask(UnplugGuests(vm_ids=(1, 2)))
    assert model.plug(guest(1))[0].warnings == ()
    assert model.fabric.mirrors == {}
    assert model.plug(guest(2))[0].warnings == ()
    assert model.fabric.mirrors == {"mega_tap0": "mega_tap1"}


# ---------------------------------------------------------------- trunks and bridges


def trunk(interface: str, bridge: str = "br", **fields: bool) -> TrunkBridge:
    """The request."""
    return TrunkBridge(bridge=bridge, interface=interface, **fields)


def test_an_interface_of_the_host_is_plugged_in_and_taken_out() -> None:
    model = Model()
    model.fabric.host |= {"eth1"}
    assert model.ask(trunk("eth1")) == Ack()
    assert model.fabric.trunks == {("br", "eth1")}
    assert views.bridges(model.table) == Bridges(bridges=(BridgeInfo(name="br", trunks=("eth1",)),))
    assert model.refused(trunk("eth1")) == ("conflict", "bridge already trunking to eth1")
    assert model.refused(trunk("eth1", "other")) == ("conflict", "eth1 is a trunk of br")
    assert model.refused(trunk("eth1", "other", remove=True)) == ("not_found", "unknown trunk: eth1")
    assert model.ask(trunk("eth1", remove=True)) == Ack()
    assert (model.fabric.trunks, "eth1" in model.fabric.host, model.table.is_empty) == (set(), True, True)


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        (trunk("lo"), "invalid", "lo is the loopback interface, it leads nowhere"),
        (trunk("eth7"), "not_found", "this host has no interface eth7"),
        (trunk("eth0"), "conflict", "this host reaches the world through eth0, and would not any more; `force`"),
        (trunk("there"), "conflict", "there is a host tap"),
        (trunk("a b"), "invalid", "invalid interface name, `a b`"),
        (trunk("eth1", "eth1"), "invalid", "eth1 cannot be a bridge and be plugged into it"),
        (trunk("eth1", "eth0"), "conflict", "eth0 is an interface of this host and no bridge"),
        (trunk("eth1", "there"), "invalid", "there is a host tap and no bridge"),
        (trunk("eth2"), "unavailable", "eth2: the kernel refused"),
        (trunk("eth1", remove=True), "not_found", "unknown trunk: eth1"),
    ],
)
def test_trunks_that_cannot_be(request_: TrunkBridge, code: str, sentence: str) -> None:
    model = Model()
    model.fabric.host |= {"eth1", "eth2"}
    model.fabric.refuses = {"eth2"}
    made(model, name="there")
    refusal = model.refused(request_)
    assert refusal[0] == code
    assert sentence in refusal[1]
    assert (model.fabric.trunks, model.table.trunks) == (set(), {})


def test_the_interface_of_the_default_route_may_be_forced() -> None:
    model = Model()
    assert model.ask(trunk("eth0", force=True)) == Ack()


def test_bridges_are_those_that_something_is_plugged_into() -> None:
    model = Model()
    assert views.bridges(model.table) == Bridges()
    model.plug(guest(1, net(7), net(3), net(4, bridge="b"), net(DISCONNECTED)), guest(2, net(9)))
    made(model, vlan=3)
    made(model, vlan=1)
    model.ask(UnplugGuests(vm_ids=(2,)))
    assert views.bridges(model.table) == Bridges(
        bridges=(BridgeInfo(name="b", vlans=(4,)), BridgeInfo(name="mega_bridge", vlans=(1, 3, 7))), kept=(9,)
    )
    assert views.bridges_file(model.table) == (
        "Bridge      Existed before minimega Active VLANS\n"
        "b           false                   [4]\n"
        "mega_bridge false                   [1 3 7]\n"
    )
    assert views.taps_file(model.table).splitlines()[1] == "mega_bridge mega_tap5 3"


def test_a_bridge_in_use_is_no_interface_of_the_host_whatever_appears_there_later() -> None:
    model = Model()
    made(model, bridge="br", name="a")
    model.fabric.host.add("br")
    made(model, bridge="br", name="b")
    model.fabric.host.add("mega_bridge")
    made(model, name="c")


# ---------------------------------------------------------------- the end of a namespace


def test_all_that_a_namespace_has_ends_and_nothing_else() -> None:
    model = with_mirror()
    model.plug(guest(9, net(1), namespace="other"))
    assert model.ask(EndNetworks()) == Ack()
    assert (list(model.table.guests), list(model.table.taps), model.table.mirrors) == ([9], ["theirs"], {})
    assert (list(model.fabric.ports), list(model.fabric.taps), model.fabric.mirrors) == (model.taps(9), ["theirs"], {})
    assert model.ask(EndNetworks()) == Ack()


def test_what_does_not_end_is_told_at_the_end_and_can_be_ended_later() -> None:
    model = with_mirror()
    model.fabric.refuses = {"mega_tap1", "look"}
    code, sentence = model.refused(EndNetworks())
    assert code == "unavailable"
    assert "mega_tap1: the kernel refused" in sentence
    assert "look: the kernel refused" in sentence
    assert (list(model.table.guests), list(model.table.taps)) == ([2], ["look", "theirs"])
    model.fabric.refuses = set()
    assert model.ask(EndNetworks()) == Ack()
    assert (list(model.fabric.ports), list(model.fabric.taps)) == ([], ["theirs"])
