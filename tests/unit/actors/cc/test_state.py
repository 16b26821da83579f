"""The cc actor's step: commands, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from actors.cc.decisions.commands import MAX_COMMANDS, MAX_DELETED
from actors.cc.inputs import (
    Archive,
    Archived,
    CloseListener,
    CloseTunnels,
    HangUp,
    Keep,
    Left,
    Listened,
    Offer,
    Remove,
    Removed,
    Survey,
    Surveyed,
    Tell,
    TunnelsOpened,
    VmsGone,
    VmsSeen,
)
from actors.cc.protocol.frames import Confirm, Signal
from actors.cc.state import step
from actors.cc.views import command_list, outcomes, response_ids
from bus.actor.step import Recovered
from bus.errors import NotFoundError
from bus.messages.base import Ack, Request
from bus.messages.cc import (
    ClearCc,
    CommandKind,
    CommandPosted,
    CommandSpec,
    CommandState,
    DeleteCommands,
    DeleteResponses,
    EndCc,
    GuestFilter,
    Listen,
    PostCommand,
    SetFilter,
    SetPrefix,
    SignalCommand,
    Unlisten,
)
from bus.messages.tunnel import CloseTunnel, OpenTunnel
from bus.messages.vm import GuestKind, LaunchVms, VmConfig, VmState
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
from tests.unit.actors.steps import events, only, play, received, replies, the

# ---------------------------------------------------------------- commands


def test_a_command_is_offered_and_its_outcomes_are_kept() -> None:
    table = after()
    (posted,) = play(step, table, post())
    assert replies(posted) == {"p": CommandPosted(id=1, guests=2)}
    assert the(Offer, posted) == Offer(namespace=NS, serial=1)
    assert states(table) == {"vm1": "waiting", "vm2": "waiting"}
    one, two = play(step, table, began(1), finished(1, code=3, stdout=5))
    assert events(one) == [f"cc/{NS}/u1/1/started/"]
    assert events(two) == [f"cc/{NS}/u1/1/done/"]
    assert the(Tell, two) == Tell(key=key(1), frame=Confirm(serial=1))
    assert states(table) == {"vm1": "exited", "vm2": "waiting"}
    row = outcomes(table.namespaces[NS], 1).outcomes[0]
    assert (row.code, row.stdout, row.started_s, row.ended_s) == (3, 5, 60.0, 61.0)
    assert not outcomes(table.namespaces[NS], 1).done
    (info,) = command_list(table.namespaces[NS], 1).commands
    assert (info.responses, info.states) == (1, {"exited": 1, "waiting": 1})


def test_guests_that_are_away_are_not_waited_for_but_counted() -> None:
    table = after(VmsSeen(vms=(vm(3), vm(4, state=VmState.QUIT))), post())
    assert not outcomes(table.namespaces[NS], 1).done
    play(step, table, began(1), finished(1), began(2), finished(2))
    found = outcomes(table.namespaces[NS], 1)
    assert (found.done, found.absent, len(found.outcomes)) == (True, 1, 4)
    play(step, table, *here(3), began(3), Left(key=key(3), reason="x"))
    found = outcomes(table.namespaces[NS], 1)
    assert (found.done, found.absent) == (True, 1)
    assert not outcomes(table.namespaces[NS], 1, frozenset({"u3"})).done
    assert outcomes(table.namespaces[NS], 1, frozenset({"u4"})).done, "a VM that has ended does not come back"


def test_what_is_said_twice_counts_once() -> None:
    table = after(post(), began(1), finished(1, code=1))
    late, again, later = play(step, table, began(1), finished(1, code=2), finished(1, serial=99))
    assert late == []
    assert again == [Tell(key=key(1), frame=Confirm(serial=1))]
    assert later == [Tell(key=key(1), frame=Confirm(serial=99))]
    assert outcomes(table.namespaces[NS], 1).outcomes[0].code == 1


def test_a_program_in_the_background_has_answered_when_it_has_begun() -> None:
    table = after(post(execute(background=True)), began(1), began(2))
    found = outcomes(table.namespaces[NS], 1)
    assert found.done
    assert command_list(table.namespaces[NS], 1).commands[0].responses == 2


@pytest.mark.parametrize(
    ("spec", "exit_code"),
    [
        (execute(), -1),
        (execute(background=True), None),
        (CommandSpec(kind=CommandKind.RECEIVE, files=("x",)), None),
    ],
)
def test_an_end_that_no_agent_told_is_noted_beside_the_output(spec: CommandSpec, exit_code: int | None) -> None:
    table = after(post(spec), began(1))
    (effects,) = play(step, table, VmsSeen(vms=(vm(1, state=VmState.QUIT),), time_s=70.0))
    assert the(Keep, effects) == Keep(namespace=NS, id=1, uuid="u1", exit_code=exit_code, error="")
    assert states(table)["vm1"] == "unknown"


def test_bad_commands_and_too_many() -> None:
    table = after()
    assert sentence(ask(table, PostCommand(command=execute("")))) == (
        "invalid: which program? there is none in the command"
    )
    for pipe, says in (
        ("a/b", "cannot contain `/`"),
        ("b//p", "own namespace"),
        ("p" * 201, "200"),
        ("a\n", "control"),
    ):
        spec = CommandSpec(kind=CommandKind.EXEC, argv=("x",), stdout=pipe)
        assert says in sentence(ask(table, PostCommand(command=spec)))
    assert "more than 4000 words" in sentence(ask(table, PostCommand(command=execute(*["x"] * 4001))))
    names = CommandSpec(kind=CommandKind.RECEIVE, files=("x",) * 4001)
    assert "more than 4000 names" in sentence(ask(table, PostCommand(command=names)))
    wanted = GuestFilter(columns=(("shoe", "44"),))
    assert "cannot be chosen by the column `shoe`" in sentence(
        ask(table, PostCommand(command=execute(), filter=wanted))
    )
    ledger = table.namespaces[NS]
    ledger.ids = dict.fromkeys(range(MAX_COMMANDS), 0)
    assert "unavailable: 5000 commands with 0 outcomes are listed" in sentence(
        ask(table, PostCommand(command=execute()))
    )


@pytest.mark.parametrize(
    ("wanted", "count", "warning"),
    [
        (None, 2, ""),
        (GuestFilter(uuid="U1"), 1, ""),
        (
            GuestFilter(uuid="other"),
            0,
            "no guest matches the filter now; those that come to match it will get the command",
        ),
    ],
)
def test_how_many_are_meant_is_said(wanted: GuestFilter | None, count: int, warning: str) -> None:
    (effects,) = play(step, after(), post(wanted=wanted))
    assert replies(effects) == {"p": CommandPosted(id=1, guests=count, warning=warning)}


def test_the_filter_and_the_prefix_in_force_are_taken() -> None:
    table = after()
    assert replies(ask(table, SetFilter(filter=GuestFilter(uuid="u2")))) == {"q": Ack()}
    assert replies(ask(table, SetPrefix(prefix="pre"))) == {"q": Ack()}
    play(step, table, post(), post(wanted=GuestFilter(), msg_id="p2"))
    one, two = command_list(table.namespaces[NS], 0).commands
    assert (one.prefix, one.states, two.states) == ("pre", {"waiting": 1}, {"waiting": 2})
    assert response_ids(table.namespaces[NS], "pre") == (1, 2)
    with pytest.raises(NotFoundError, match="no such prefix: ``"):
        response_ids(table.namespaces[NS], "")
    with pytest.raises(NotFoundError, match="no such prefix: `nix`"):
        response_ids(table.namespaces[NS], "nix")
    assert "printable" in sentence(ask(table, SetPrefix(prefix="a\nb")))


def test_files_are_looked_for_before_a_command_is_listed_also_after_a_crash() -> None:
    table = after()
    spec = CommandSpec(kind=CommandKind.SEND, files=("*.txt",))
    (asked,) = play(step, table, post(spec))
    survey = Survey(msg_id="p", namespace=NS, patterns=("*.txt",))
    assert asked == [survey]
    assert survey in play(step, table, Recovered())[0]
    (listed,) = play(step, table, Surveyed(msg_id="p", files=("a.txt", "b.txt")))
    assert replies(listed) == {"p": CommandPosted(id=1, guests=2)}
    assert table.namespaces[NS].commands[1].spec.files == ("a.txt", "b.txt")
    play(step, table, post(spec, "p2"))
    (failed,) = play(step, table, Surveyed(msg_id="p2", code="not_found", error="no such file: x"))
    assert sentence(failed) == "not_found: no such file: x"
    assert table.waiting == {}


# ---------------------------------------------------------------- ends and deletions


def test_a_signal_goes_where_it_runs_and_takes_back_where_it_waits() -> None:
    table = after(post(), began(1))
    effects = ask(table, SignalCommand(id=1, signal=9))
    frame = Signal(serial=1, signal=9)
    assert only(Tell, effects) == [Tell(key=key(1), frame=frame), Tell(key=key(2), frame=frame)]
    assert states(table) == {"vm1": "running", "vm2": "killed"}
    play(step, table, VmsSeen(vms=(vm(3),)), *here(3))
    assert states(table) == {"vm1": "running", "vm2": "killed"}


def test_what_was_taken_back_and_had_begun_all_the_same_is_ended() -> None:
    table = after(post())
    ask(table, SignalCommand(id=1))
    (effects,) = play(step, table, began(2))
    assert the(Tell, effects).frame == Signal(serial=1, signal=15)
    play(step, table, finished(2, state=CommandState.SIGNALED, code=15))
    assert states(table)["vm2"] == "signaled"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (SignalCommand(id=9), "not_found: command 9 not found"),
        (SignalCommand(id=1, signal=0), "invalid: 0 is no signal: expected 1 to 64"),
        (SignalCommand(id=1, uuid="nix"), "not_found: no guest with UUID nix"),
        (DeleteCommands(target="9"), "not_found: command 9 not found"),
        (DeleteCommands(target="pre"), "not_found: no such prefix: `pre`"),
        (DeleteCommands(target=""), "not_found: no such prefix: ``"),
        (DeleteResponses(target="pre"), "not_found: no such prefix: `pre`"),
        (ClearCc(parts=("shoes",)), "invalid: `shoes` cannot be cleared: expected commands, filter, prefix, responses"),
        (Listen(port=0), "invalid: 0 is no port: expected 1 to 65535"),
        (Listen(port=1, address="localhost"), "invalid: `localhost` is no IP address of this host"),
        (Unlisten(port=5), "not_found: port 5 is not listened on"),
        (OpenTunnel(target="nix", source=1, host="h", port=2), "not_found: no such client: nix"),
        *(
            (
                OpenTunnel(target="vm1", source=1, host=host, port=2),
                f"invalid: to which host? `{host[:80]}` is neither a name nor an address",
            )
            for host in ("", "a..b", "x" * 70, "a b", "a\0b", "\N{GREEK SMALL LETTER ALPHA}" * 70, "a." * 200)
        ),
        (
            OpenTunnel(source=1, host="h", port=2),
            "invalid: into which guest? a tunnel needs the name or the UUID of a VM",
        ),
        (OpenTunnel(target="vm1", source=0, host="h", port=2), "invalid: 0 is no source port: expected 1 to 65535"),
        (CloseTunnel(target="vm1", id=3), "not_found: vm1 has no tunnel 3"),
        (LaunchVms(kind=GuestKind.KVM, config=VmConfig(), names=()), "unknown_type: cc does not understand LaunchVms"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(request_: Request[Any], told: str) -> None:
    assert sentence(ask(after(post()), request_)) == told


def test_deleted_commands_go_on_where_they_run_and_are_taken_back_elsewhere() -> None:
    table = after(post(), post(msg_id="p2"), began(1))
    effects = ask(table, DeleteCommands(target="1"))
    assert only(Tell, effects) == [Tell(key=key(2), frame=Signal(serial=1, signal=0))]
    assert [info.id for info in command_list(table.namespaces[NS], 0).commands] == [2]
    assert table.namespaces[NS].next_id == 3
    (done,) = play(step, table, finished(1))
    assert events(done) == [f"cc/{NS}/u1/1/done/"]
    ask(table, DeleteCommands(target="all"))
    assert table.namespaces[NS].next_id == 1


def test_when_ids_begin_anew_nothing_is_mixed() -> None:
    table = after(post(), began(1))
    ask(table, ClearCc(parts=("commands",)))
    (posted,) = play(step, table, post(msg_id="again"))
    assert replies(posted) == {"again": CommandPosted(id=1, guests=2)}
    archive = Archive(namespace=NS, time_s=100.0)
    assert the(Archive, posted) == archive
    assert archive in play(step, table, Recovered())[0]
    play(step, table, Archived(namespace=NS))
    assert only(Archive, play(step, table, Recovered())[0]) == []
    assert [(one.serial, one.quiet) for one in table.namespaces[NS].commands.values()] == [(1, True), (2, False)]
    (old,) = play(step, table, finished(1, serial=1))
    assert only(Keep, old) == []
    assert states(table) == {"vm1": "waiting", "vm2": "waiting"}


def test_of_deleted_commands_few_are_remembered() -> None:
    table = after()
    for number in range(MAX_DELETED + 50):
        play(step, table, post(msg_id=f"p{number}"))
    ask(table, DeleteCommands(target="all"))
    assert len(table.namespaces[NS].commands) == MAX_DELETED


def test_removed_responses_are_answered_and_streams_begin_where_they_were() -> None:
    table = after(post(), began(1))
    effects = ask(table, DeleteResponses(target="1"))
    assert effects == [Remove(namespace=NS, ids=(1,), msg_id="q")]
    assert effects[0] in play(step, table, Recovered())[0]
    position = (NS, "u1", 1, "stdout", 500)
    (removed,) = play(step, table, Removed(msg_id="q", positions=(position,)))
    assert replies(removed) == {"q": Ack()}
    assert table.namespaces[NS].commands[1].guests["u1"].dropped == {"stdout": 500}
    ask(table, DeleteResponses(target="all"), "q2")
    (failed,) = play(step, table, Removed(msg_id="q2", error="no"))
    assert sentence(failed) == "unavailable: no"


def test_clear_takes_all_and_keeps_connections() -> None:
    table = after(post())
    ask(table, SetFilter(filter=GuestFilter(os="linux")))
    effects = ask(table, ClearCc())
    assert the(Remove, effects) == Remove(namespace=NS, ids=None, msg_id="q")
    ledger = table.namespaces[NS]
    assert (ledger.ids, ledger.filter, ledger.prefix, ledger.guests["u1"].connected) == ({}, None, "", True)


def test_the_end_of_a_namespace_leaves_nothing_but_its_vms() -> None:
    table = after(post(), began(1), received(Listen(port=99), "l"), Listened(msg_id="l"))
    open_ = OpenTunnel(target="vm1", source=5, host="h", port=6)
    play(step, table, received(open_, "t"), TunnelsOpened(msg_id="t"))
    before = table.namespaces[NS].name
    effects = ask(table, EndCc())
    assert the(HangUp, effects).namespace == NS
    assert the(CloseListener, effects) == CloseListener(port=99)
    assert the(CloseTunnels, effects) == CloseTunnels(tunnels=((key(1), 1),))
    assert replies(effects) == {"q": Ack()}
    ledger = table.namespaces[NS]
    assert ledger.name != before
    assert (ledger.ids, ledger.listeners, ledger.tunnels, list(ledger.guests)) == ({}, {}, {}, ["u1", "u2"])
    play(step, table, VmsGone(vm_ids=(1, 2)))
    ask(table, EndCc(), "q2")
    assert NS not in table.namespaces
