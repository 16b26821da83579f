"""The network actor's step: dnsmasq servers, from their start to their end, with crashes in between."""

from __future__ import annotations

from typing import Any

import pytest

from actors.network.services import servers
from actors.network.services.server_table import (
    CheckOption,
    EndServers,
    FollowServer,
    OptionChecked,
    ServerFailed,
    ServerGone,
    ServerLost,
    ServersEnded,
    ServerUp,
    StartServer,
    WriteServers,
)
from bus.actor.step import Fail
from bus.messages.base import Ack
from bus.messages.dnsmasq import (
    ConfigureDnsmasq,
    Dnsmasq,
    KillDnsmasqs,
    StartDnsmasq,
    UnconfigureDnsmasq,
)
from bus.messages.network import CreateTap, DeleteTaps, EndNetworks
from tests.unit.actors.network.model import Model
from tests.unit.actors.steps import only

MAC, OTHER = "00:16:3e:00:00:01", "00:16:3e:00:00:02"


def range_of(net: int, **more: str) -> StartDnsmasq:
    """A request for a server of 10.0.<net>.0/24."""
    fields = {"address": f"10.0.{net}.1", "low": f"10.0.{net}.10", "high": f"10.0.{net}.20"}
    return StartDnsmasq(**{**fields, **more})


def up(id_: int, net: int = 0, **more: Any) -> ServerUp:
    """A server serves."""
    fields = {"interface": f"lan{net}", "network": f"10.0.{net}.0/24", "path": f"/b/{id_}"}
    return ServerUp(id=id_, pid=1000 + id_, ticks=7, **{**fields, **more})


def serving(*nets: int) -> Model:
    """A model with a server for each of these networks."""
    model = Model()
    for id_, net in enumerate(nets):
        model.send(range_of(net))
        model.feed(up(id_, net))
    return model


def listed(model: Model) -> dict[int, Dnsmasq]:
    """As users see them."""
    return {one.id: one for one in servers.listed(model.table.dnsmasq).servers}


def test_a_server_is_started_listed_and_killed() -> None:
    model = Model()
    start = model.send(range_of(0))
    assert only(StartServer, model.effects) == [StartServer(id=0)]
    assert (start in model.answers, listed(model)) == (False, {})
    model.feed(up(0))
    shown = Dnsmasq(id=0, address="10.0.0.1", low="10.0.0.10", high="10.0.0.20", path="/b/0", pid=1000)
    assert listed(model) == {0: shown}
    assert model.answers[start].servers == (shown,)  # type: ignore[union-attr]
    kill = model.send(KillDnsmasqs(id=0))
    assert only(EndServers, model.effects) == [EndServers(ids=(0,))]
    assert kill not in model.answers, "it still runs"
    model.feed(ServersEnded(ids=(0,)))
    assert (model.answers[kill], listed(model)) == (Ack(), {})
    model.send(range_of(0))
    model.feed(up(1))
    assert list(listed(model)) == [1], "numbers are not used again"


def test_one_that_does_not_start_leaves_nothing() -> None:
    model = Model()
    start = model.send(range_of(0))
    model.feed(ServerFailed(id=0, message="it says no"))
    assert model.answers[start] == Fail(msg_id=start, code="unavailable", message="it says no")
    assert model.table.dnsmasq == Model().table.dnsmasq


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "a server needs an address and a range, or a configuration file"),
        ({"config": "relative"}, "`relative` is no absolute path of a configuration file"),
        ({"config": "/x\ny"}, "is no absolute path"),
        ({"address": "10.0.9.1"}, "invalid first address ``"),
        ({"address": "x", "low": "10.0.9.2", "high": "10.0.9.3"}, "invalid listen address `x`"),
        ({"address": "fd00::1", "low": "10.0.9.2", "high": "10.0.9.3"}, "expected an IPv4 address"),
        ({"address": "127.0.0.1", "low": "10.0.9.2", "high": "10.0.9.3"}, "it is no host's"),
        ({"address": "10.0.9.1", "low": "10.0.9.3", "high": "10.0.9.2"}, "10.0.9.3 is above 10.0.9.2"),
        ({"address": "10.0.9.1", "low": "10.0.9.3", "high": "10.0.9.256"}, "invalid last address `10.0.9.256`"),
        ({"address": "10.0.0.1", "low": "10.0.9.2", "high": "10.0.9.3"}, "dnsmasq 0 listens on 10.0.0.1 already"),
        ({"address": "10.0.9.1", "low": "10.0.0.20", "high": "10.0.0.30"}, "overlaps with 10.0.0.10 to 10.0.0.20 of"),
        ({"address": "10.0.9.1", "low": "10.0.0.1", "high": "10.0.0.255"}, "the range overlaps"),
    ],
)
def test_what_cannot_be_started(fields: dict[str, str], sentence: str) -> None:
    model = serving(0)
    code, text = model.refused(StartDnsmasq(**fields))
    assert code == "invalid"
    assert sentence in text
    assert list(listed(model)) == [0]


def test_killed_while_it_starts_it_is_ended_once_it_has() -> None:
    model = Model()
    start, kill = model.send(range_of(0)), model.send(KillDnsmasqs())
    assert only(EndServers, model.effects) == []
    model.feed(up(0))
    assert model.answers[start] == Fail(msg_id=start, code="conflict", message="dnsmasq 0 was ended while it started")
    model.feed(ServersEnded(ids=(0,)))
    assert model.answers[kill] == Ack()


def test_there_may_be_none_to_kill() -> None:
    model = Model()
    assert model.ask(KillDnsmasqs()) == Ack()
    assert model.refused(KillDnsmasqs(id=3)) == ("not_found", "invalid id: there is no dnsmasq 3")


def test_one_that_ends_by_itself_stays_listed_and_is_said_once() -> None:
    model = serving(0)
    model.feed(ServerGone(id=0, pid=1000))
    model.feed(ServerGone(id=0, pid=1000))
    assert only(ServerLost, model.effects) == [ServerLost(id=0, pid=1000)]
    assert listed(model)[0].pid == -1
    model.send(range_of(0))
    model.feed(up(1))
    assert listed(model)[1].pid == 1001, "its place can be taken"


def test_a_tap_takes_its_servers_with_it() -> None:
    model = serving(0, 1)
    for name in ("lan0", "lan1"):
        model.ask(CreateTap(vlan=7, name=name), "exp")
    model.ask(DeleteTaps(name="lan0"), "exp")
    assert only(EndServers, model.effects) == [EndServers(ids=(0,))]
    model.ask(EndNetworks(), "exp")
    assert only(EndServers, model.effects) == [EndServers(ids=(0,)), EndServers(ids=(1,))]


def test_after_a_crash_what_was_under_way_is_done_again() -> None:
    model = serving(0, 1, 2)
    model.feed(ServerGone(id=1, pid=1001))
    model.send(KillDnsmasqs(id=2))
    start = model.send(range_of(3))
    check = model.send(ConfigureDnsmasq(option="option:router,10.0.0.1"))
    effects = model.crash()
    assert only(FollowServer, effects) == [FollowServer(id=0)]
    assert only(EndServers, effects) == [EndServers(ids=(2,))]
    assert only(StartServer, effects) == [StartServer(id=3)]
    assert only(CheckOption, effects) == [CheckOption(msg_id=check, option="option:router,10.0.0.1")]
    model.feed(up(3, 3))
    assert start in model.answers


# ---------------------------------------------------------------- entries


def test_entries_are_kept_written_and_taken_away() -> None:
    model = serving(0, 1)
    for request in (
        ConfigureDnsmasq(id=0, mac="00-16-3E-00-00-01", ip="10.0.0.5"),
        ConfigureDnsmasq(id=0, mac=MAC, ip="10.0.0.6"),
        ConfigureDnsmasq(ip="10.0.0.6", name="web.example"),
        ConfigureDnsmasq(upstream="fd00::53"),
    ):
        assert model.ask(request) == Ack()
    first, second = listed(model).values()
    assert (first.fixed, first.names, first.upstream) == ({MAC: "10.0.0.6"}, {"10.0.0.6": "web.example"}, "fd00::53")
    assert (second.fixed, second.names, second.upstream) == ({}, {"10.0.0.6": "web.example"}, "fd00::53")
    assert only(WriteServers, model.effects)[-2:] == [WriteServers(ids=(0, 1)), WriteServers(ids=(0, 1))]
    assert model.ask(UnconfigureDnsmasq(id=0, kind="ip", entry=MAC.upper())) == Ack()
    assert model.ask(UnconfigureDnsmasq(kind="dns")) == Ack()
    assert model.ask(UnconfigureDnsmasq(kind="upstream")) == Ack()
    assert all((one.fixed, one.names, one.upstream) == ({}, {}, "") for one in listed(model).values())
    assert model.refused(UnconfigureDnsmasq(id=0, kind="dns", entry="10.0.0.6"))[0] == "not_found"


def test_an_option_counts_once_dnsmasq_has_taken_it() -> None:
    model = serving(0)
    good, bad = (model.send(ConfigureDnsmasq(id=0, option=option)) for option in ("3,10.0.0.1", "rubbish"))
    assert [one.option for one in only(CheckOption, model.effects)] == ["3,10.0.0.1", "rubbish"]
    model.feed(OptionChecked(msg_id=bad, problem="no such option"))
    model.feed(OptionChecked(msg_id=good))
    assert model.answers[good] == Ack()
    assert model.answers[bad] == Fail(msg_id=bad, code="invalid", message="no such option")
    assert listed(model)[0].options == ("3,10.0.0.1",)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "an entry is a hardware address with an address"),
        ({"mac": MAC}, "an entry is"),
        ({"mac": MAC, "ip": "10.0.0.5", "name": "x"}, "an entry is"),
        ({"mac": "x", "ip": "10.0.0.5"}, "`x` is no hardware address"),
        ({"mac": MAC, "ip": "10.0.0.500"}, "invalid address `10.0.0.500`"),
        ({"mac": MAC, "ip": "10.9.0.5"}, "10.9.0.5 is not within 10.0.0.0/24, the network of dnsmasq 0"),
        ({"mac": MAC, "ip": "10.0.0.7"}, f"10.0.0.7 is kept for {OTHER} already, in dnsmasq 0"),
        ({"ip": "10.0.0.5", "name": "a b"}, "`a b` is no name of a host"),
        ({"ip": "10.0.0.5", "name": "a\nb"}, "is no name of a host"),
        ({"ip": "10.0.0.5", "name": "a" * 64}, "is no name of a host"),
        ({"ip": "nowhere", "name": "a"}, "invalid address `nowhere`"),
        ({"upstream": "one.one"}, "invalid address `one.one`"),
        ({"option": "3,1\n4"}, "is no DHCP option"),
        ({"option": "x" * 300}, "is no DHCP option"),
        ({"option": "#3"}, "is no DHCP option"),
    ],
)
def test_entries_that_cannot_be(fields: dict[str, Any], sentence: str) -> None:
    model = serving(0)
    model.ask(ConfigureDnsmasq(id=0, mac=OTHER, ip="10.0.0.7"))
    before = listed(model)
    code, text = model.refused(ConfigureDnsmasq(**fields))
    assert (code, listed(model)) == ("invalid", before)
    assert sentence in text


def test_entries_of_a_server_that_is_not_there() -> None:
    model = serving(0)
    for request in (ConfigureDnsmasq(id=5, upstream="1.1.1.1"), UnconfigureDnsmasq(id=5, kind="ip")):
        assert model.refused(request) == ("not_found", "invalid dnsmasq ID")
    assert model.refused(UnconfigureDnsmasq(id=0, kind="x"))[0] == "invalid"
