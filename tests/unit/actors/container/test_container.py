"""The container actor's decisions: inputs and effects as tables."""

from __future__ import annotations

from actors.container.state import (
    CallWarden,
    ConsolesMoved,
    ContainerTable,
    DropConsole,
    GuestState,
    Verb,
    WardenAnswered,
    WardenConnected,
    WardenExited,
)
from actors.container.step import step
from bus.actor.step import Ask, AskFailed, Effect, Input, Received, Reply
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestConsole,
    GuestExit,
    GuestReport,
    GuestReports,
    GuestSpec,
    KillGuests,
    PauseGuests,
    ReportConsoles,
    ReportExits,
    StartGuests,
)
from bus.messages.vm import VmConfig
from shims.container.protocol import ContainerStatus


def spec(vm_id: int, **config: object) -> GuestSpec:
    return GuestSpec(
        vm_id=vm_id,
        name=f"vm-{vm_id}",
        namespace="minimega",
        uuid=f"uuid-{vm_id}",
        instance_dir=f"/base/{vm_id}",
        config=VmConfig(filesystem="/root-fs", **config),  # type: ignore[arg-type]
    )


def received(msg_id: str, body: object) -> Received:
    return Received(msg_id=msg_id, body=body)


def play(table: ContainerTable, *inputs: Input) -> list[Effect]:
    """The effects of the last input."""
    effects: list[Effect] = []
    for inp in inputs:
        effects = step(table, inp)
    return effects


def running(*vm_ids: int) -> ContainerTable:
    """A table in which these containers run and nothing is open."""
    table = ContainerTable(tag="abcd")
    play(table, received("c", CreateGuests(guests=tuple(spec(vm_id) for vm_id in vm_ids))))
    play(table, *(WardenAnswered(call=f"c/{vm_id}", pid=100 + vm_id) for vm_id in vm_ids))
    play(table, received("s", StartGuests(vm_ids=vm_ids)), *(WardenAnswered(call=f"s/{vm_id}") for vm_id in vm_ids))
    return table


def calls(effects: list[Effect]) -> list[tuple[str, Verb, int]]:
    return [(effect.call, effect.verb, effect.vm_id) for effect in effects if isinstance(effect, CallWarden)]


def status(vm_id: int, state: str, exit_: str = "") -> ContainerStatus:
    return ContainerStatus(guest_id=vm_id, pid=100 + vm_id, start_ticks=1, state=state, exit=exit_)  # type: ignore[arg-type]


def exit_of(vm_id: int, how: str = "exit status 1", clean: bool = False) -> GuestExit:
    return GuestExit(vm_id=vm_id, exit=how, clean=clean, pid=100 + vm_id)


def test_a_creation_is_answered_when_every_container_is() -> None:
    table = ContainerTable(tag="abcd")
    effects = play(table, received("c", CreateGuests(guests=(spec(1), spec(2)))))
    assert calls(effects) == [("c/1", Verb.CREATE, 1), ("c/2", Verb.CREATE, 2)]
    assert play(table, WardenAnswered(call="c/2", pid=102)) == []
    effects = play(table, WardenAnswered(call="c/1", error="init: /init: No such file or directory"))
    failed = GuestReport(vm_id=1, error="init: /init: No such file or directory")
    assert effects == [
        DropConsole(vm_id=1),
        Reply(msg_id="c", body=GuestReports(reports=(GuestReport(vm_id=2, pid=102), failed))),
    ]
    assert list(table.guests) == [2]
    assert table.guests[2].state is GuestState.BUILDING


def test_the_spec_takes_the_name_where_no_hostname_is_set() -> None:
    table = ContainerTable(tag="abcd")
    play(table, received("c", CreateGuests(guests=(spec(1), spec(2, hostname="web", volumes={"/in": "/out"})))))
    assert table.guests[1].spec.hostname == "vm-1"
    assert table.guests[2].spec.hostname == "web"
    assert [(volume.source, volume.target) for volume in table.guests[2].spec.volumes] == [("/out", "/in")]


def test_an_existing_container_is_not_made_twice() -> None:
    table = running(1)
    effects = play(table, received("c2", CreateGuests(guests=(spec(1),))))
    assert effects == [
        Reply(msg_id="c2", body=GuestReports(reports=(GuestReport(vm_id=1, error="container 1 exists already"),)))
    ]
    assert table.guests[1].state is GuestState.RUNNING


def test_pause_and_resume() -> None:
    table = running(1)
    play(table, received("p", PauseGuests(vm_ids=(1,))), WardenAnswered(call="p/1"))
    assert table.guests[1].state == "paused"
    effects = play(table, received("r", StartGuests(vm_ids=(1,))), WardenAnswered(call="r/1"))
    assert table.guests[1].state is GuestState.RUNNING
    assert effects == [Reply(msg_id="r", body=GuestReports(reports=(GuestReport(vm_id=1),)))]


def test_who_kills_learns_of_the_end_by_the_answer_alone() -> None:
    table = running(1)
    play(table, received("k", KillGuests(vm_ids=(1,))))
    assert play(table, WardenExited(exit=exit_of(1, "signal: killed", clean=True))) == []
    effects = play(table, WardenAnswered(call="k/1"))
    assert effects == [Reply(msg_id="k", body=GuestReports(reports=(GuestReport(vm_id=1),)))]
    assert table.guests[1].state is GuestState.EXITED


def test_an_exit_by_itself_is_reported_until_it_is_taken() -> None:
    table = running(1)
    effects = play(table, WardenExited(exit=exit_of(1)))
    assert [type(effect) for effect in effects] == [Ask]
    first = effects[0]
    assert isinstance(first, Ask)
    assert first.body == ReportExits(exits=(exit_of(1),))
    again = play(table, AskFailed(tag=first.tag, code="unreachable", message="nobody"))[0]
    assert isinstance(again, Ask)
    assert again.body == first.body
    assert again.tag != first.tag


def test_ended_or_unknown_containers_need_no_killing_and_cannot_start() -> None:
    table = running(1)
    play(table, WardenExited(exit=exit_of(1)))
    effects = play(table, received("k", KillGuests(vm_ids=(1, 9))))
    assert effects == [Reply(msg_id="k", body=GuestReports(reports=(GuestReport(vm_id=1), GuestReport(vm_id=9))))]
    effects = play(table, received("s2", StartGuests(vm_ids=(1, 9))))
    errors = (GuestReport(vm_id=1, error="exit status 1"), GuestReport(vm_id=9, error="there is no such container"))
    assert effects == [Reply(msg_id="s2", body=GuestReports(reports=errors))]


def test_forgetting_drops_the_console() -> None:
    table = running(1)
    play(table, WardenExited(exit=exit_of(1)))
    effects = play(table, received("f", ForgetGuests(vm_ids=(1,))), WardenAnswered(call="f/1"))
    assert effects == [DropConsole(vm_id=1), Reply(msg_id="f", body=GuestReports(reports=(GuestReport(vm_id=1),)))]
    assert not table.guests


def test_an_empty_request_is_answered_at_once() -> None:
    assert play(ContainerTable(tag="abcd"), received("k", KillGuests(vm_ids=()))) == [
        Reply(msg_id="k", body=GuestReports(reports=()))
    ]


class TestReconcile:
    """After the warden or the actor was away."""

    def test_what_agrees_stays(self) -> None:
        table = running(1, 2)
        assert play(table, WardenConnected(containers=(status(1, "running"), status(2, "running")))) == []

    def test_a_vanished_container_has_an_exit_nobody_saw(self) -> None:
        table = running(1)
        (ask,) = play(table, WardenConnected(containers=()))
        assert isinstance(ask, Ask)
        assert ask.body == ReportExits(exits=(exit_of(1, "unknown"),))

    def test_an_exit_meanwhile_is_reported_once(self) -> None:
        table = running(1)
        listed = WardenConnected(containers=(status(1, "exited", "exit status 3"),))
        (ask,) = play(table, listed)
        assert isinstance(ask, Ask)
        assert ask.body == ReportExits(exits=(exit_of(1, "exit status 3"),))
        assert play(table, listed) == []

    def test_a_half_made_container_is_removed_and_made_anew(self) -> None:
        table = ContainerTable(tag="abcd")
        play(table, received("c", CreateGuests(guests=(spec(1),))))
        effects = play(table, WardenConnected(containers=(status(1, "building"),)))
        assert calls(effects) == [("remove/1/kill", Verb.KILL, 1)]
        assert calls(play(table, WardenAnswered(call="remove/1/kill"))) == [("remove/1/forget", Verb.FORGET, 1)]
        assert calls(play(table, WardenAnswered(call="remove/1/forget"))) == [("c/1", Verb.CREATE, 1)]
        (reply,) = play(table, WardenAnswered(call="c/1", pid=7))
        assert reply == Reply(msg_id="c", body=GuestReports(reports=(GuestReport(vm_id=1, pid=7),)))

    def test_the_end_of_the_removed_one_is_not_the_end_of_the_next(self) -> None:
        table = ContainerTable(tag="abcd")
        play(table, received("c", CreateGuests(guests=(spec(1),))))
        play(table, WardenConnected(containers=(status(1, "building"),)))
        assert play(table, WardenExited(exit=exit_of(1, "signal: killed", clean=True))) == []
        play(table, WardenAnswered(call="remove/1/kill"), WardenAnswered(call="remove/1/forget"))
        play(table, WardenAnswered(call="c/1", pid=7))
        assert table.guests[1].state is GuestState.BUILDING
        assert calls(play(table, received("k", KillGuests(vm_ids=(1,))))) == [("k/1", Verb.KILL, 1)]

    def test_a_removal_that_was_interrupted_goes_on(self) -> None:
        table = ContainerTable(tag="abcd")
        play(table, received("c", CreateGuests(guests=(spec(1),))))
        play(table, WardenConnected(containers=(status(1, "building"),)))
        effects = play(table, WardenConnected(containers=(status(1, "exited", "signal: killed"),)))
        assert calls(effects) == [("remove/1/forget", Verb.FORGET, 1)]
        assert calls(play(table, WardenConnected(containers=()))) == [("c/1", Verb.CREATE, 1)]

    def test_a_creation_that_left_no_trace_is_made_again(self) -> None:
        table = ContainerTable(tag="abcd")
        play(table, received("c", CreateGuests(guests=(spec(1),))))
        assert calls(play(table, WardenConnected(containers=()))) == [("c/1", Verb.CREATE, 1)]

    def test_a_call_whose_effect_shows_is_answered(self) -> None:
        table = running(1)
        play(table, received("p", PauseGuests(vm_ids=(1,))))
        (reply,) = play(table, WardenConnected(containers=(status(1, "frozen"),)))
        assert reply == Reply(msg_id="p", body=GuestReports(reports=(GuestReport(vm_id=1, pid=101),)))
        assert table.guests[1].state is GuestState.PAUSED

    def test_a_call_whose_effect_does_not_show_is_made_again(self) -> None:
        table = running(1)
        play(table, received("k", KillGuests(vm_ids=(1,))))
        effects = play(table, WardenConnected(containers=(status(1, "running"),)))
        assert calls(effects) == [("k/1", Verb.KILL, 1)]

    def test_killing_what_is_gone_is_done(self) -> None:
        table = running(1)
        play(table, received("k", KillGuests(vm_ids=(1,))))
        (reply,) = play(table, WardenConnected(containers=()))
        assert reply == Reply(msg_id="k", body=GuestReports(reports=(GuestReport(vm_id=1),)))
        assert table.guests[1].state is GuestState.EXITED

    def test_starting_what_is_gone_fails(self) -> None:
        table = running(1)
        play(table, received("p", PauseGuests(vm_ids=(1,))))
        effects = play(table, WardenConnected(containers=()))
        assert [type(effect) for effect in effects] == [Ask, Reply]
        gone = GuestReport(vm_id=1, error="the container has vanished")
        assert effects[1] == Reply(msg_id="p", body=GuestReports(reports=(gone,)))

    def test_what_nobody_knows_is_removed(self) -> None:
        table = ContainerTable(tag="abcd")
        effects = play(table, WardenConnected(containers=(status(5, "running"), status(6, "exited", "unknown"))))
        assert calls(effects) == [("remove/5/kill", Verb.KILL, 5), ("remove/6/forget", Verb.FORGET, 6)]
        assert calls(play(table, WardenAnswered(call="remove/5/kill"))) == [("remove/5/forget", Verb.FORGET, 5)]
        assert play(table, WardenAnswered(call="remove/5/forget")) == []


def test_the_port_of_a_console_comes_with_the_answer() -> None:
    table = ContainerTable(tag="abcd")
    play(table, received("c", CreateGuests(guests=(spec(1),))))
    effects = play(table, WardenAnswered(call="c/1", pid=101, console_port=4000))
    assert effects == [
        Reply(msg_id="c", body=GuestReports(reports=(GuestReport(vm_id=1, pid=101, console_port=4000),)))
    ]
    assert table.guests[1].console_port == 4000


def test_consoles_that_have_moved_are_reported_until_it_is_known() -> None:
    table = running(1, 2)
    (ask,) = play(table, ConsolesMoved(ports={1: 5000, 9: 1}))
    assert isinstance(ask, Ask)
    assert (ask.to, ask.body) == ("vm", ReportConsoles(consoles=(GuestConsole(vm_id=1, pid=101, port=5000),)))
    (again,) = play(table, AskFailed(tag=ask.tag, code="unreachable", message=""))
    assert isinstance(again, Ask)
    assert again.tag != ask.tag
    assert again.body == ReportConsoles(
        consoles=(GuestConsole(vm_id=1, pid=101, port=5000), GuestConsole(vm_id=2, pid=102, port=0))
    )
    assert play(table, ConsolesMoved(ports={9: 1})) == []
