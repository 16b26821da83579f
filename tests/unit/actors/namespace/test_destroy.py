"""The namespace actor's step: how namespaces come into being and end."""

from __future__ import annotations

import msgspec
import pytest

from actors.namespace import state
from actors.namespace.destroy import MAX_ROUNDS
from actors.namespace.state import namespace_list, step
from actors.namespace.table import Namespace, NamespaceTable, first_table
from actors.namespace.vlan_requests import WriteVlans
from bus.actor.step import Ask, AskFailed, Effect, Fail, Publish
from bus.messages.base import Ack, Message, Request
from bus.messages.cc import EndCc
from bus.messages.namespace import (
    CloneConfig,
    DestroyNamespace,
    DestroyReport,
    NamespaceDestroyed,
    NamespaceOpened,
    OpenNamespace,
    QueueVms,
    SaveConfig,
    SetConfig,
    SetQueueing,
)
from bus.messages.network import BridgeInfo, Bridges, EndNetworks, GetBridges
from bus.messages.pipe import DeletePipes
from bus.messages.pipeline import ClearPipelines
from bus.messages.vlan import AddVlan, ResolveVlans, SetVlanRange, Vlan, Vlans
from bus.messages.vm import FlushVms, GetVmNames, GuestKind, KillVms, VmList, VmNames, VmReport, VmResult
from tests.unit.actors.steps import answer, events, only, received, replies, the, through_snapshot

NS = "minimega"
NOTHING = VmReport()
ONE_VM = VmReport(results=(VmResult(name="a", vm_id=0),))


@pytest.fixture
def table() -> NamespaceTable:
    """A host with a busy namespace `exp` beside the default one."""
    table = first_table("h1", "/base/files")
    for body in (SetConfig(param="memory", words=("64",)), SaveConfig(name="small"), SetQueueing(queueing=True)):
        do(table, body, namespace="exp")
    do(table, SetConfig(param="memory", words=("32",)))
    return table


def do(table: NamespaceTable, body: Request[Message], msg_id: str = "m1", namespace: str = NS) -> list[Effect]:
    """One request."""
    return step(table, received(body, msg_id, namespace=namespace))


def refused(effects: list[Effect], msg_id: str = "m1") -> tuple[str, str]:
    """Code and sentence of a failure."""
    reply = replies(effects)[msg_id]
    assert isinstance(reply, Fail), reply
    return reply.code, reply.message


def begin(table: NamespaceTable, namespace: str = "exp", msg_id: str = "m1") -> Ask:
    """Ask for the end; what the one host is asked once its pipelines and pipes have ended."""
    return after_pipes(table, the(Ask, do(table, DestroyNamespace(), msg_id, namespace)))


def after_pipes(table: NamespaceTable, plumb: Ask) -> Ask:
    """A host ends pipelines and pipes; what it is asked then."""
    pipe = the(Ask, step(table, answer(plumb, Ack())))
    assert (plumb.to, plumb.body) == (pipe.to, ClearPipelines())
    assert (pipe.to.partition("@")[0], pipe.body) == ("plumber", DeletePipes())
    return the(Ask, step(table, answer(pipe, Ack())))


def end_round(
    table: NamespaceTable, kill: Ask, flushed: VmReport, left: dict[str, str], in_use: tuple[int, ...] = ()
) -> list[Effect]:
    """A host kills, flushes, says what it has then, and in the end ends command and control and networks."""
    flush = the(Ask, step(table, answer(kill, NOTHING)))
    look = the(Ask, step(table, answer(flush, flushed)))
    assert [type(ask.body) for ask in (kill, flush, look)] == [KillVms, FlushVms, GetVmNames]
    effects = step(table, answer(look, VmNames(uuids=left)))
    cc = the(Ask, effects)
    if isinstance(cc.body, KillVms):
        return effects
    return end_rest(table, cc, in_use)


def end_rest(table: NamespaceTable, cc: Ask, in_use: tuple[int, ...] = ()) -> list[Effect]:
    """A host ends command and control, then networks."""
    assert (cc.to.partition("@")[0], cc.body) == ("cc", EndCc())
    network = the(Ask, step(table, answer(cc, Ack())))
    assert (network.to.partition("@")[0], network.body) == ("network", EndNetworks())
    look = the(Ask, step(table, answer(network, Ack())))
    assert look.body == GetBridges()
    return step(table, answer(look, Bridges(bridges=(BridgeInfo(name="mega_bridge", vlans=in_use),))))


def names(table: NamespaceTable) -> list[str]:
    """All namespaces that are listed."""
    return [info.name for info in namespace_list(table).namespaces]


def test_a_plumber_that_cannot_be_asked_keeps_no_vm_alive(table: NamespaceTable) -> None:
    plumb = the(Ask, do(table, DestroyNamespace(), namespace="exp"))
    pipe = the(Ask, step(table, AskFailed(tag=plumb.tag, code="unreachable", message="nobody")))
    kill = the(Ask, step(table, AskFailed(tag=pipe.tag, code="unreachable", message="nobody")))
    report = replies(end_round(table, kill, ONE_VM, {}))["m1"]
    assert report == DestroyReport(errors=("h1: nobody", "h1: nobody"))
    assert "exp" in names(table), "its end can be asked for again"


def test_command_and_control_that_cannot_be_asked_is_told(table: NamespaceTable) -> None:
    flush = the(Ask, step(table, answer(begin(table), NOTHING)))
    look = the(Ask, step(table, answer(flush, ONE_VM)))
    cc = the(Ask, step(table, answer(look, VmNames(uuids={}))))
    network = the(Ask, step(table, AskFailed(tag=cc.tag, code="unreachable", message="nobody is at cc@h1")))
    assert network.body == EndNetworks(), "it goes on"
    in_use = the(Ask, step(table, answer(network, Ack())))
    effects = step(table, answer(in_use, Bridges()))
    assert replies(effects) == {"m1": DestroyReport(errors=("h1: nobody is at cc@h1",))}
    assert "exp" in names(table), "its end can be asked for again"


def test_a_namespace_is_opened_once(table: NamespaceTable) -> None:
    effects = do(table, OpenNamespace(), namespace="new")
    published = the(Publish, effects)
    assert (published.topic, published.event) == ("namespace/new/opened/", NamespaceOpened(name="new"))
    assert effects.index(published) == 0
    assert replies(effects) == {"m1": Ack()}
    assert only(Publish, do(table, OpenNamespace(), namespace="new")) == []
    assert only(Publish, do(table, SetQueueing(queueing=True), namespace="newer"))[0].topic == "namespace/newer/opened/"


def test_there_are_only_so_many(table: NamespaceTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_NAMESPACES", 2)
    sentence = "there are 2 namespaces already; `clear namespace NAME` ends one"
    assert refused(do(table, OpenNamespace(), namespace="third")) == ("conflict", sentence)
    assert replies(do(table, OpenNamespace(), namespace="exp")) == {"m1": Ack()}


def test_the_end_of_a_busy_namespace(table: NamespaceTable) -> None:
    before = msgspec.to_builtins(table.namespaces[NS])
    kill = begin(table)
    assert (kill.to, kill.namespace, kill.body) == ("vm@h1", "exp", KillVms(target="all"))
    effects = end_round(table, kill, ONE_VM, {})
    assert replies(effects) == {"m1": DestroyReport()}
    assert the(Publish, effects).event == NamespaceDestroyed(name="exp")
    assert events(effects) == ["namespace/exp/destroyed/"]
    assert names(table) == [NS]
    assert msgspec.to_builtins(table.namespaces[NS]) == before
    assert (table.destructions, table.asks) == ({}, {})
    do(table, OpenNamespace(), namespace="exp")
    assert table.namespaces["exp"] == Namespace(hosts=("h1",))


def test_the_default_namespace_is_emptied_and_stays(table: NamespaceTable) -> None:
    effects = end_round(table, begin(table, NS), NOTHING, {})
    assert replies(effects) == {"m1": DestroyReport()}
    assert events(effects) == ["namespace/minimega/destroyed/"]
    assert table.namespaces[NS] == Namespace(hosts=("h1",))


def test_a_namespace_that_nobody_knows(table: NamespaceTable) -> None:
    effects = end_round(table, begin(table, "who"), NOTHING, {})
    assert refused(effects) == ("not_found", "unknown namespace: who")
    assert events(effects) == []
    assert names(table) == ["exp", NS]


def test_vms_of_a_namespace_that_is_not_known_here(table: NamespaceTable) -> None:
    assert replies(end_round(table, begin(table, "who"), ONE_VM, {})) == {"m1": DestroyReport()}


@pytest.mark.parametrize("name", ["", "a b", "all", "x" * 65])
def test_what_cannot_be_a_namespace(table: NamespaceTable, name: str) -> None:
    assert refused(do(table, DestroyNamespace(), namespace=name))[0] == "invalid"


def test_not_while_it_launches(table: NamespaceTable) -> None:
    ask = the(Ask, do(table, QueueVms(kind=GuestKind.CONTAINER, names="a"), "m0", "exp"))
    sentence = "scheduler still running for namespace"
    assert refused(do(table, DestroyNamespace(), namespace="exp")) == ("conflict", sentence)
    assert replies(step(table, answer(ask, VmNames(uuids={})))) == {"m0": NOTHING}
    begin(table)


def test_nothing_else_is_done_in_it_meanwhile(table: NamespaceTable) -> None:
    begin(table)
    for body in (QueueVms(kind=GuestKind.CONTAINER, names="a"), OpenNamespace(), SetQueueing(queueing=True)):
        assert refused(do(table, body, "m2", "exp"), "m2") == ("conflict", "namespace exp is being destroyed")
    assert replies(do(table, OpenNamespace(), "m3")) == {"m3": Ack()}


def test_asked_twice_it_happens_once(table: NamespaceTable) -> None:
    kill = begin(table)
    assert do(table, DestroyNamespace(), "m2", "exp") == []
    restored = through_snapshot(table)
    assert replies(end_round(restored, kill, ONE_VM, {})) == {"m1": DestroyReport(), "m2": DestroyReport()}


def test_a_vm_that_is_started_meanwhile_is_ended_too(table: NamespaceTable) -> None:
    again = the(Ask, end_round(table, begin(table), ONE_VM, {"b": "uuid"}))
    assert replies(end_round(table, again, NOTHING, {})) == {"m1": DestroyReport()}


def test_vms_that_cannot_be_ended_stay_listed(table: NamespaceTable) -> None:
    ask = begin(table)
    for _ in range(MAX_ROUNDS - 1):
        ask = the(Ask, end_round(table, ask, NOTHING, {"b": "uuid"}))
    effects = end_round(table, ask, NOTHING, {"b1": "u1", "b2": "u2"})
    assert replies(effects) == {"m1": DestroyReport(errors=("still there on h1: b[1-2]",))}
    assert events(effects) == []
    assert table.namespaces["exp"] == Namespace(hosts=("h1",))
    assert replies(end_round(table, begin(table), ONE_VM, {})) == {"m1": DestroyReport()}
    assert names(table) == [NS]


def test_errors_do_not_stop_the_rest(table: NamespaceTable) -> None:
    table.namespaces["exp"].hosts = ("h1", "h2", "h3")
    asks = only(Ask, do(table, DestroyNamespace(), namespace="exp"))
    first, second, third = (after_pipes(table, ask) for ask in asks)
    cc = the(Ask, step(table, AskFailed(tag=first.tag, code="unreachable", message="nobody is at vm@h1")))
    assert end_rest(table, cc) == [], "what needs no VMs goes on"
    assert end_round(table, third, ONE_VM, {}) == []
    flush = the(Ask, step(table, answer(second, VmReport(errors=("a: it does not die",)))))
    look = the(Ask, step(table, answer(flush, NOTHING)))
    effects = end_rest(table, the(Ask, step(table, answer(look, VmNames(uuids={"a": "uuid"})))))
    errors = ("h1: nobody is at vm@h1", "a: it does not die", "still there on h2: a")
    assert replies(effects) == {"m1": DestroyReport(errors=errors)}
    assert table.namespaces["exp"].hosts == ("h1", "h2", "h3")


def test_without_hosts(table: NamespaceTable) -> None:
    table.namespaces["exp"].hosts = ()
    assert replies(do(table, DestroyNamespace(), namespace="exp")) == {"m1": DestroyReport()}


def test_a_clone_that_comes_too_late_brings_nothing_back(table: NamespaceTable) -> None:
    clone = the(Ask, do(table, CloneConfig(vm="a"), "m0", "exp"))
    effects = end_round(table, begin(table), NOTHING, {})
    assert refused(effects, "m0") == ("conflict", "namespace exp was destroyed meanwhile")
    assert step(table, answer(clone, VmList(vms=()))) == []
    assert names(table) == [NS]


def test_vlans_end_with_their_namespace_and_those_of_others_stay(table: NamespaceTable) -> None:
    do(table, ResolveVlans(texts=("LAN", "other//LAN", "exp//WAN")))
    do(table, SetVlanRange(minimum=200, maximum=300), namespace="exp")
    do(table, SetVlanRange(minimum=300, maximum=400), namespace="other")
    effects = end_round(table, begin(table), NOTHING, {}, in_use=(101, 103))
    assert table.vlans.aliases == {"minimega//LAN": 101, "other//LAN": 102}
    assert list(table.vlans.ranges) == ["other"]
    assert table.vlans.worn == (103,), "somebody else is plugged into it"
    written = the(WriteVlans, effects)
    assert "exp//" not in written.text and effects.index(written) < effects.index(the(Publish, effects))


def test_vlans_stay_while_something_of_the_namespace_does(table: NamespaceTable) -> None:
    do(table, ResolveVlans(texts=("LAN",)), namespace="exp")
    kill = begin(table)
    step(table, AskFailed(tag=kill.tag, code="unreachable", message="nobody is at vm@h1"))
    assert table.vlans.aliases == {"exp//LAN": 101}


def test_nobody_makes_an_alias_in_a_namespace_that_ends(table: NamespaceTable) -> None:
    do(table, ResolveVlans(texts=("LAN",)), namespace="exp")
    begin(table)
    sentence = "namespace exp is being destroyed"
    assert refused(do(table, ResolveVlans(texts=("exp//WAN",)), "m2"), "m2") == ("conflict", sentence)
    assert refused(do(table, AddVlan(alias="exp//WAN", number=5), "m3"), "m3") == ("conflict", sentence)
    assert replies(do(table, ResolveVlans(texts=("exp//LAN",)), "m4"))["m4"] == Vlans(
        vlans=(Vlan(number=101, alias="exp//LAN"),)
    )


def test_a_namespace_of_which_there_are_only_vlans(table: NamespaceTable) -> None:
    do(table, ResolveVlans(texts=("who//LAN",)))
    assert replies(end_round(table, begin(table, "who"), NOTHING, {})) == {"m1": DestroyReport()}
    assert table.vlans.aliases == {}


def test_without_the_network_the_rest_ends(table: NamespaceTable) -> None:
    do(table, ResolveVlans(texts=("LAN",)), namespace="exp")
    flush = the(Ask, step(table, answer(begin(table), NOTHING)))
    look = the(Ask, step(table, answer(flush, ONE_VM)))
    cc = the(Ask, step(table, answer(look, VmNames(uuids={}))))
    network = the(Ask, step(table, answer(cc, Ack())))
    in_use = the(Ask, step(table, AskFailed(tag=network.tag, code="unreachable", message="nobody is at network@h1")))
    effects = step(table, AskFailed(tag=in_use.tag, code="unreachable", message="nobody is at network@h1"))
    assert replies(effects) == {"m1": DestroyReport(errors=("h1: nobody is at network@h1",))}
    assert "exp" in names(table), "its end can be asked for again"
    assert table.vlans.aliases == {"exp//LAN": 101}
