"""The network actor's step: host taps that get their address by DHCP."""

from __future__ import annotations

from actors.network import views
from actors.network.operations import Leased, NoLease
from actors.network.table import EndLease, KeepLease
from bus.actor.step import Fail
from bus.messages.network import CreateTap, DeleteTaps, HostTap, HostTaps, InterfaceReport
from tests.unit.actors.network.model import Model, told
from tests.unit.actors.steps import only

ASKED = CreateTap(vlan=101, name="foo", dhcp=True)
FOO = HostTap(name="foo", namespace="minimega", bridge="mega_bridge", vlan=101, address="10.0.0.5/24")


def test_it_is_answered_with_its_address_which_may_change() -> None:
    model = Model()
    asked = model.send(ASKED)
    assert only(KeepLease, model.effects) == [KeepLease(tap="foo", is_new=True)]
    assert (asked in model.answers, told(model.effects)) == (False, [])
    model.feed(Leased(tap="foo", address="10.0.0.5/24"))
    assert model.answers[asked] == HostTaps(taps=(FOO,))
    assert told(model.effects) == [("connected", "foo", "mega_bridge", 101)]
    for address in ("10.0.0.6/24", ""):
        model.feed(Leased(tap="foo", address=address))
        assert views.host_taps(model.table, "minimega").taps[0].address == address
    assert model.ask(DeleteTaps(name="foo")) == InterfaceReport()
    assert only(EndLease, model.effects) == [EndLease(tap="foo")]
    model.feed(Leased(tap="foo", address="10.0.0.7/24"))
    assert model.table.is_empty


def test_without_an_address_there_is_no_tap() -> None:
    model = Model()
    asked = model.send(ASKED)
    model.feed(NoLease(tap="foo", message="nobody answers"))
    assert model.answers[asked] == Fail(msg_id=asked, code="unavailable", message="nobody answers")
    assert (model.table.is_empty, model.fabric.taps) == (True, {})
    assert only(EndLease, model.effects) == [EndLease(tap="foo")]


def test_others_do_not_wait_for_it() -> None:
    model = Model()
    asked = model.send(ASKED)
    assert isinstance(model.ask(CreateTap(vlan=1, name="bar")), HostTaps)
    model.ask(DeleteTaps(name="foo"))
    sentence = "foo was deleted before it had got an address"
    assert model.answers[asked] == Fail(msg_id=asked, code="conflict", message=sentence)
    model.feed(NoLease(tap="foo", message="late"))
    assert list(model.table.taps) == ["bar"]


def test_leases_go_on_after_a_crash() -> None:
    model = Model()
    asked = model.send(ASKED)
    assert only(KeepLease, model.crash()) == [KeepLease(tap="foo", is_new=True)]
    model.feed(Leased(tap="foo", address="10.0.0.5/24"))
    assert asked in model.answers
    assert only(KeepLease, model.crash()) == [KeepLease(tap="foo", is_new=False)]


def test_an_address_is_given_or_leased() -> None:
    model = Model()
    refusal = model.refused(CreateTap(vlan=1, address="10.0.0.1/24", dhcp=True))
    assert refusal == ("invalid", "an address is given or leased, not both")
