"""The cc actor's step: VMs and agents that come and go, ports and tunnels, restarts."""

from __future__ import annotations

from actors.cc.inputs import (
    CloseListener,
    CloseTunnels,
    FactsChanged,
    FileArrived,
    Handed,
    HangUp,
    Left,
    Listened,
    Offer,
    OpenListener,
    OpenTunnels,
    Reline,
    Remove,
    Removed,
    Surveyed,
    TunnelsOpened,
    VmsGone,
    VmsSeen,
)
from actors.cc.state import step
from actors.cc.table import CcTable, Facts
from bus.actor.step import Input, Recovered, Reply
from bus.messages.base import Ack
from bus.messages.cc import (
    CommandKind,
    CommandSpec,
    CommandState,
    DeleteCommands,
    DeleteResponses,
    GuestFilter,
    Listen,
    SetFilter,
    Unlisten,
)
from bus.messages.tunnel import OpenTunnel
from bus.messages.vm import VmState
from tests.unit.actors.cc.inputs import (
    NS,
    after,
    ask,
    began,
    execute,
    finished,
    here,
    key,
    post,
    sentence,
    states,
    vm,
)
from tests.unit.actors.steps import events, play, received, replies, the, through_journal, through_snapshot

# ---------------------------------------------------------------- guests


def test_agents_come_and_go() -> None:
    table = CcTable()
    (seen,) = play(step, table, VmsSeen(vms=(vm(1), vm(2, backchannel=False))))
    assert seen == [Reline(vm_ids=(1,))]
    joined, synced = play(step, table, *here(1, hostname="g", macs=("AA:BB",)))
    assert joined == []
    assert events(synced) == [f"cc/{NS}/u1/connected/"]
    assert the(Offer, synced) == Offer(namespace=NS, uuid="u1", first=True)
    assert table.namespaces[NS].guests["u1"].facts == Facts(hostname="g", macs=("aa:bb",))
    (left,) = play(step, table, Left(key=key(1), reason="why"))
    assert events(left) == [f"cc/{NS}/u1/gone/"]
    assert events(play(step, table, Left(key=key(1)))[0]) == []
    nobody = play(step, table, *here(9), Left(key=key(9)), began(9), FileArrived(key=key(9), serial=1, index=0))
    assert nobody == [[], [], [], [], []]


def test_after_another_boot_what_is_listed_is_done_again_but_for_once() -> None:
    table = after(
        post(), post(execute(once=True), "p2"), post(execute(once=True), "p3"), finished(1), finished(1, 2), began(1, 3)
    )
    effects = play(step, table, *here(1, boot="b2"))
    assert the(Remove, effects[0]) == Remove(namespace=NS, ids=(1,), uuid="u1")
    assert [states(table, number)["vm1"] for number in (1, 2, 3)] == ["waiting", "exited", "unknown"]


def test_what_an_agent_should_know_and_does_not_is_unknown() -> None:
    table = after(post(), post(msg_id="p2"), began(1), began(1, 2))
    play(step, table, Left(key=key(1)), *here(1, 2, agent="a2"))
    assert [states(table, number)["vm1"] for number in (1, 2)] == ["unknown", "running"]
    play(step, table, finished(1, 1, code=4))
    assert states(table)["vm1"] == "exited"  # it knew after all


def test_a_transfer_that_an_agent_has_forgotten_is_begun_again() -> None:
    """Files that are the same come to the same: it need not end as unknown, as a program must."""
    receive = CommandSpec(kind=CommandKind.RECEIVE, files=("/x", "/y"))
    table = after(post(receive), post(receive, "p2"), *(FileArrived(key=key(1), serial=at, index=0) for at in (1, 2)))
    assert [states(table, number)["vm1"] for number in (1, 2)] == ["running", "running"]
    play(step, table, received(DeleteCommands(target="2"), "d"), Left(key=key(1)))
    synced = play(step, table, *here(1, agent="a2"))[-1]
    assert states(table)["vm1"] == "waiting" and the(Offer, synced).first
    assert events(synced) == [f"cc/{NS}/u1/2/done/", f"cc/{NS}/u1/connected/"], "what nobody wants any more ends"
    play(step, table, FileArrived(key=key(1), serial=1, index=0), finished(1))
    assert states(table)["vm1"] == "exited"


def test_an_agent_without_a_disk_that_was_restarted_may_have_done_it() -> None:
    table = after(post(), Handed(key=key(1), serial=1))
    play(step, table, *here(1))
    assert states(table)["vm1"] == "waiting"
    play(step, table, *here(1, agent="a2"))
    assert states(table)["vm1"] == "unknown"


def test_facts_and_tags_bring_new_offers() -> None:
    table = after()
    (facts,) = play(step, table, FactsChanged(key=key(1), hostname="h", ips=("10.1.2.3",), macs=()))
    assert facts == [Offer(namespace=NS, uuid="u1")]
    (tagged,) = play(step, table, VmsSeen(vms=(vm(1, tags={"a": "b"}),)))
    assert tagged == [Offer(namespace=NS, uuid="u1")]
    assert play(step, table, VmsSeen(vms=(vm(1, tags={"a": "b"}),))) == [[]]


def test_a_vm_that_ends_and_one_that_is_flushed() -> None:
    table = after(post(), began(1))
    (ended,) = play(step, table, VmsSeen(vms=(vm(1, state=VmState.QUIT),)))
    assert the(HangUp, ended).uuid == "u1"
    assert the(Reline, ended) == Reline(vm_ids=(1,))
    assert states(table)["vm1"] == "unknown"
    (gone,) = play(step, table, VmsGone(vm_ids=(1, 99)))
    assert the(Reline, gone) == Reline(vm_ids=(1,))
    assert states(table) == {"vm1": "unknown", "vm2": "waiting"}
    ask(table, DeleteCommands(target="all"))
    assert list(table.namespaces[NS].guests) == ["u2"]


def test_a_uuid_belongs_to_one_vm_of_a_namespace_at_a_time() -> None:
    table = after()
    assert play(step, table, VmsSeen(vms=(vm(8, uuid="u1"),))) == [[]]
    play(step, table, VmsGone(vm_ids=(1,)))
    (again,) = play(step, table, VmsSeen(vms=(vm(8, uuid="u1"),)))
    assert again == [Reline(vm_ids=(8,))]
    (other,) = play(step, table, VmsSeen(vms=(vm(9, uuid="u1", namespace="other"),)))
    assert other == [Reline(vm_ids=(9,))]


# ---------------------------------------------------------------- ports and tunnels


def test_ports_belong_to_one_namespace_and_come_back_after_a_crash() -> None:
    table = after()
    opened = OpenListener(namespace=NS, port=99, address="", msg_id="q")
    assert ask(table, Listen(port=99)) == [opened]
    assert "just being opened" in sentence(ask(table, Listen(port=99), "q2", "other"))
    assert opened in play(step, table, Recovered())[0]
    assert replies(play(step, table, Listened(msg_id="q"))[0]) == {"q": Ack()}
    assert "for namespace minimega" in sentence(ask(table, Listen(port=99), "q3", "other"))
    assert OpenListener(namespace=NS, port=99, address="") in play(step, table, Recovered())[0]
    ask(table, Listen(port=98), "q4")
    assert sentence(play(step, table, Listened(msg_id="q4", error="taken"))[0]) == "conflict: taken"
    assert ask(table, Unlisten(port=99)) == [CloseListener(port=99), Reply(msg_id="q", body=Ack())]


def test_tunnels_are_all_opened_or_none() -> None:
    table = after()
    (effect,) = ask(table, OpenTunnel(source=5, host="h", port=6, reverse=True))
    assert isinstance(effect, OpenTunnels)
    assert [(where, tunnel.id) for where, tunnel in effect.tunnels] == [(key(1), 1), (key(2), 2)]
    (failed,) = play(step, table, TunnelsOpened(msg_id="q", error="taken"))
    assert the(CloseTunnels, failed) == CloseTunnels(tunnels=((key(1), 1), (key(2), 2)))
    assert sentence(failed) == "conflict: taken"
    ask(table, OpenTunnel(target="u2", source=5, host="h", port=6, reverse=True), "q2")
    play(step, table, TunnelsOpened(msg_id="q2"))
    again = ask(table, OpenTunnel(target="vm2", source=5, host="h", port=7, reverse=True))
    assert sentence(again) == "conflict: vm2 has a tunnel at port 5 already"
    (_, synced) = play(step, table, *here(2))
    assert [where for where, _ in the(OpenTunnels, synced).tunnels] == [key(2)]
    play(step, table, Left(key=key(2)))
    absent = ask(table, OpenTunnel(target="vm2", source=7, host="h", port=7))
    assert sentence(absent) == "unavailable: the agent of vm2 is not connected"


# ---------------------------------------------------------------- crashes


def test_a_replay_and_a_snapshot_give_the_same_table() -> None:
    inputs: list[Input] = [
        VmsSeen(vms=(vm(1, tags={"a": "b"}, columns={"name": "vm1"}), vm(2)), time_s=1.0, seed=5),
        *here(1, hostname="h", ips=("10.0.0.1",)),
        *here(2),
        received(SetFilter(filter=GuestFilter(tags=(("a", "b"),))), "f"),
        post(execute("a", "b", timeout_s=3.0)),
        post(CommandSpec(kind=CommandKind.SEND, files=("x",)), "s"),
        Surveyed(msg_id="s", files=("x",)),
        began(1),
        FileArrived(key=key(1), serial=2, index=0),
        FileArrived(key=key(1), serial=2, index=0),
        finished(1, state=CommandState.FAILED, error="no"),
        Handed(key=key(1), serial=2),
        received(Listen(port=7), "l"),
        Listened(msg_id="l"),
        received(OpenTunnel(target="vm1", source=5, host="h", port=6), "t"),
        TunnelsOpened(msg_id="t"),
        received(DeleteResponses(target="all"), "d"),
        Removed(msg_id="d", positions=((NS, "u1", 2, "stdout", 9),)),
    ]
    first, second = CcTable(), CcTable()
    for inp in inputs:
        assert through_journal(inp) == inp
        step(first, inp)
    for inp in inputs:
        second = through_snapshot(second)
        step(second, through_journal(inp))
    assert first == second
    assert first.namespaces[NS].commands[2].guests["u1"].files == 1
