"""The `vm` actor's step by tables: ends of guests, commands that meet, tags, repair."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from actors.vm.effects import (
    InstancesPrepared,
    InstancesRemoved,
    Located,
    Outcome,
    PrepareInstances,
    RemoveInstances,
    WarnOfStrangers,
    WriteStates,
)
from actors.vm.state import step
from actors.vm.table import ERROR_TAG, Phase, VmTable
from actors.vm.tags import MAX_TAGS
from bus.actor.step import Ask, AskFailed, Fail, Publish, Recovered
from bus.messages.base import Ack, Request
from bus.messages.guest import (
    GuestExit,
    GuestList,
    GuestReport,
    GuestReports,
    GuestStatus,
    KillGuests,
    ListGuests,
    ReportExits,
)
from bus.messages.vm import (
    ClearVmTags,
    FlushVms,
    GuestKind,
    KillVms,
    LaunchVms,
    StartVms,
    StopVms,
    TagVms,
    VmConfig,
    VmReport,
)
from tests.unit.actors.steps import answer, events, only, received, replies, the
from tests.unit.actors.vm.vm_host import CONFIG, Host, errors, errors_of, prepared


@pytest.fixture
def host() -> Host:
    """A host without VMs."""
    return Host()


# --- ends


@pytest.mark.parametrize(
    ("exit_", "state", "error"),
    [
        (GuestExit(vm_id=0, exit="exit status 0", clean=True), "QUIT", None),
        (GuestExit(vm_id=0, exit="exit status 3", clean=False), "ERROR", "killed container: exit status 3"),
        (GuestExit(vm_id=0, exit="signal: killed", clean=False), "ERROR", "killed container: signal: killed"),
        (
            GuestExit(vm_id=0, exit="signal: killed", clean=False, oom_killed=True),
            "ERROR",
            "killed container: signal: killed, out of memory (limit 2048 MiB)",
        ),
        (GuestExit(vm_id=0, exit="unknown", clean=False), "QUIT", None),
        (GuestExit(vm_id=0, exit="exit status 3", clean=False, pid=999), "RUNNING", None),
        (GuestExit(vm_id=0, exit="exit status 0", clean=True, pid=1000), "QUIT", None),
        (GuestExit(vm_id=77, exit="exit status 0", clean=True), "RUNNING", None),
    ],
)
def test_exits(host: Host, exit_: GuestExit, state: str, error: str | None) -> None:
    host.launch("a")
    host.do(StartVms(target="a"))
    effects = step(host.table, received(ReportExits(exits=(exit_,)), "x", time_s=130.0))
    assert replies(effects) == {"x": Ack()}
    vm = host.table.vms[0]
    assert (vm.state.value, vm.tags.get(ERROR_TAG)) == (state, error)
    if state != "RUNNING":
        assert (vm.pid, vm.uptime_s(500.0)) == (0, 30.0)


def test_an_exit_that_overtakes_the_answer_to_start(host: Host) -> None:
    host.launch("a")
    effects = step(host.table, received(StartVms(target="a"), "s"))
    ask = the(Ask, effects)
    exits = (GuestExit(vm_id=0, exit="exit status 1", clean=False, pid=1000),)
    effects = step(host.table, received(ReportExits(exits=exits), "x"))
    assert [topic.split("/")[3] for topic in events(effects)] == ["started", "failed"]
    effects = step(host.table, answer(ask, GuestReports(reports=(GuestReport(vm_id=0),))))
    assert events(effects) == []
    assert list(replies(effects)) == ["s"]
    assert host.states() == {"a": "ERROR"}


@pytest.mark.parametrize(("pid", "state"), [(55, "ERROR"), (54, "BUILDING")])
def test_an_exit_reported_while_a_guest_is_created(host: Host, pid: int, state: str) -> None:
    """Of the new guest it counts; of the one before the relaunch it is old news."""
    prepared(host, "QUIT")
    forget = the(Ask, step(host.table, received(StartVms(target="a"), "s")))
    create = the(Ask, step(host.table, answer(forget, GuestReports(reports=(GuestReport(vm_id=0),)))))
    exits = (GuestExit(vm_id=0, exit="signal: killed", clean=False, pid=pid),)
    step(host.table, received(ReportExits(exits=exits), "x"))
    step(host.table, answer(create, GuestReports(reports=(GuestReport(vm_id=0, pid=55),))))
    assert host.states()["a"] == state


# --- commands that meet


def test_kill_during_building_waits_and_works(host: Host) -> None:
    effects = step(host.table, received(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=("a",)), "l"))
    assert step(host.table, received(KillVms(target="all"), "k")) == []
    effects = step(host.table, InstancesPrepared(outcomes=(Outcome(0),)))
    create = the(Ask, effects)
    effects = step(host.table, answer(create, GuestReports(reports=(GuestReport(vm_id=0, pid=5),))))
    assert isinstance(replies(effects)["l"], VmReport)
    kill = the(Ask, effects)
    assert kill.body == KillGuests(vm_ids=(0,))
    effects = step(host.table, answer(kill, GuestReports(reports=(GuestReport(vm_id=0),))))
    assert list(replies(effects)) == ["k"]
    assert host.states() == {"a": "QUIT"}


def test_two_kills_are_both_answered_and_both_have_succeeded(host: Host) -> None:
    host.launch("a")
    kill = the(Ask, step(host.table, received(KillVms(target="a"), "k1")))
    assert step(host.table, received(KillVms(target="a"), "k2")) == []
    effects = step(host.table, answer(kill, GuestReports(reports=(GuestReport(vm_id=0),))))
    assert [(msg_id, errors(reply)) for msg_id, reply in replies(effects).items() if isinstance(reply, VmReport)] == [
        ("k1", ()),
        ("k2", ()),
    ]


def test_work_that_waited_for_a_flushed_vm(host: Host) -> None:
    prepared(host, "QUIT")
    forget = the(Ask, step(host.table, received(FlushVms(), "f1")))
    for msg_id, request in {"f2": FlushVms(target="a"), "s": StartVms(target="a"), "k": KillVms(target="all")}.items():
        step(host.table, received(request, msg_id))
    step(host.table, answer(forget, GuestReports(reports=(GuestReport(vm_id=0),))))
    effects = step(host.table, InstancesRemoved(outcomes=(Outcome(0),)))
    answers = {msg_id: errors(reply) for msg_id, reply in replies(effects).items() if isinstance(reply, VmReport)}
    assert answers == {"f1": (), "f2": (), "s": ("vm not found: a",)}
    assert set(host.table.jobs) == {"k"}, "the kill still waits for b"


# --- a driver that does not answer


def unanswered(ask: Ask) -> AskFailed:
    """Out of time."""
    return AskFailed(tag=ask.tag, code="deadline", message="no answer from container in 300 s")


def test_a_creation_of_unknown_outcome_is_undone(host: Host) -> None:
    step(host.table, received(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=("a",)), "l"))
    create = the(Ask, step(host.table, InstancesPrepared(outcomes=(Outcome(0),))))
    kill = the(Ask, step(host.table, unanswered(create)))
    assert kill.body == KillGuests(vm_ids=(0,))
    effects = step(host.table, unanswered(kill))
    assert errors_of(effects, "l") == ("a: no answer from container in 300 s",)
    assert host.table.vms[0].doubtful
    host.do(FlushVms())
    assert host.asked == ["KillGuests 0", "ForgetGuests 0"]
    assert host.table.vms == {}


def test_a_kill_of_unknown_outcome_is_looked_into(host: Host) -> None:
    host.launch("a")
    kill = the(Ask, step(host.table, received(KillVms(target="a"), "k")))
    effects = step(host.table, unanswered(kill))
    assert errors_of(effects, "k") == ("a: no answer from container in 300 s",)
    question = the(Ask, effects)
    assert question.body == ListGuests()
    effects = step(host.table, answer(question, GuestList(guests=())))
    assert (host.states(), events(effects)) == ({"a": "QUIT"}, ["vm/minimega/a/quit/"])


# --- tags


def test_tags(host: Host) -> None:
    host.launch("a", "b", config=VmConfig(filesystem="/fs", tags={"x": "1"}))
    assert errors(host.do(TagVms(target="a", key="k", value="v"))) == ()
    (event,) = only(Publish, host.log)
    assert (event.topic, event.cause) == ("vm/minimega/a/tagged/", "cmd")
    assert [vm.tags for vm in host.table.vms.values()] == [{"x": "1", "k": "v"}, {"x": "1"}]
    assert errors(host.do(TagVms(target="a", key="k", value="v"))) == ()
    assert events(host.log) == [], "nothing has changed"
    assert errors(host.do(ClearVmTags(target="a,nope", key="x"))) == ("vm not found: nope",)
    assert [vm.tags for vm in host.table.vms.values()] == [{"k": "v"}, {"x": "1"}]
    assert errors(host.do(ClearVmTags())) == ()
    assert [vm.tags for vm in host.table.vms.values()] == [{}, {}]


def test_the_wildcard_is_no_tag(host: Host) -> None:
    reply = host.do(TagVms(target="all", key="all", value="v"))
    assert isinstance(reply, Fail)
    assert reply.message == "cannot assign to wildcard"


def test_tags_have_room_for_so_much(host: Host) -> None:
    host.launch("a", "b")
    half = "x" * (MAX_TAGS // 2)
    assert errors(host.do(TagVms(target="a", key="k", value=half))) == ()
    size = 2 * (MAX_TAGS // 2) + 2
    sentence = f"a: its tags would have {size} characters, at most {MAX_TAGS} are allowed"
    assert errors(host.do(TagVms(target="all", key="l", value=half))) == (sentence,)
    assert [list(vm.tags) for vm in host.table.vms.values()] == [["k"], ["l"]]
    assert errors(host.do(TagVms(target="a", key="k", value="y" * (MAX_TAGS - 1)))) == (), "in place of the old value"
    assert errors(host.do(ClearVmTags(target="a"))) == ()


# --- after a restart


def test_recovery_finishes_what_the_shell_had_begun(host: Host) -> None:
    host.launch("a", "b")
    host.do(KillVms(target="a"))
    forget = the(Ask, step(host.table, received(FlushVms(), "f")))
    step(host.table, answer(forget, GuestReports(reports=(GuestReport(vm_id=0),))))
    step(host.table, received(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=("c",)), "l", seed=99))
    effects = step(host.table, Recovered())
    assert the(RemoveInstances, effects).vm_ids == (0,)
    assert [one.vm_id for one in the(PrepareInstances, effects).instances] == [2]
    assert the(WriteStates, effects).states == {1: "BUILDING"}
    step(host.table, InstancesRemoved(outcomes=(Outcome(0),)))
    step(host.table, InstancesRemoved(outcomes=(Outcome(0),)))
    assert [vm.phase for vm in host.table.vms.values()] == [Phase.IDLE, Phase.PREPARING]


STATUS_EXIT = GuestExit(vm_id=0, exit="exit status 2", clean=False)


@pytest.mark.parametrize(
    ("before", "guest", "after", "topics"),
    [
        ("RUNNING", None, "QUIT", ["quit"]),
        ("RUNNING", GuestStatus(vm_id=0, pid=1000, state="running"), "RUNNING", []),
        ("RUNNING", GuestStatus(vm_id=0, pid=1000, state="paused"), "PAUSED", ["stopped"]),
        ("PAUSED", GuestStatus(vm_id=0, pid=1000, state="running"), "RUNNING", ["started"]),
        ("RUNNING", GuestStatus(vm_id=0, state="exited", exit=STATUS_EXIT), "ERROR", ["failed"]),
        ("BUILDING", GuestStatus(vm_id=0, state="exited"), "QUIT", ["quit"]),
        ("QUIT", GuestStatus(vm_id=0, state="exited"), "QUIT", []),
        ("QUIT", None, "QUIT", []),
    ],
)
def test_reconciling(host: Host, before: str, guest: GuestStatus | None, after: str, topics: list[str]) -> None:
    prepared(host, before)
    question = only(Ask, step(host.table, Recovered()))[0]
    b = GuestStatus(vm_id=1, pid=4711, state="running")
    effects = step(host.table, answer(question, GuestList(guests=(b, guest) if guest else (b,))))
    assert [topic.split("/")[3] for topic in events(effects)] == topics
    assert host.states()["a"] == after
    assert host.table.vms[1].pid == 4711


def test_what_changed_since_the_question_is_left_alone(host: Host) -> None:
    prepared(host, "RUNNING")
    question = the(Ask, step(host.table, Recovered()))
    pause = the(Ask, step(host.table, received(StopVms(target="a"), "p")))
    step(host.table, answer(pause, GuestReports(reports=(GuestReport(vm_id=0),))))
    guests = tuple(GuestStatus(vm_id=vm_id, pid=1000 + vm_id, state="running") for vm_id in (0, 1))
    effects = step(host.table, answer(question, GuestList(guests=guests)))
    assert host.states()["a"] == "PAUSED"
    assert the(Ask, effects).body == ListGuests(), "it is asked about once more"


@pytest.mark.parametrize(("code", "again"), [("unreachable", True), ("deadline", True), ("internal", False)])
def test_a_driver_that_is_away_is_asked_again(host: Host, code: str, again: bool) -> None:
    question = the(Ask, step(host.table, Recovered()))
    effects = step(host.table, AskFailed(tag=question.tag, code=code, message="no"))
    assert [ask.body for ask in only(Ask, effects)] == ([ListGuests()] if again else [])


def test_strangers_are_reported_and_their_ids_avoided(host: Host) -> None:
    question = the(Ask, step(host.table, Recovered()))
    strangers = GuestList(guests=(GuestStatus(vm_id=41, pid=9, state="running"),))
    effects = step(host.table, answer(question, strangers))
    assert the(WarnOfStrangers, effects) == WarnOfStrangers(driver="container", vm_ids=(41,))
    host.launch("a")
    assert list(host.table.vms) == [42]


def test_ids_of_old_directories_are_avoided() -> None:
    table = VmTable()
    step(table, Located(host="h1", base="/base", highest_id=6))
    assert table.next_id == 7
    assert step(table, received(Request(), "odd")) == [
        Fail(msg_id="odd", code="unknown_type", message="vm does not understand Request")
    ]


def test_a_guest_lost_before_the_launch_is_answered_is_its_failure() -> None:
    table = VmTable()
    step(table, Located(host="h1", base="/base", highest_id=-1))
    names = tuple(f"m{number}" for number in range(30))
    step(table, received(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=names), "launch"))
    first, second = only(Ask, step(table, InstancesPrepared(outcomes=tuple(map(Outcome, range(30))))))
    assert not replies(step(table, answer(first, built(range(25)))))
    lost = GuestExit(vm_id=0, exit="signal: killed", clean=False, pid=9)
    step(table, received(ReportExits(exits=(lost,)), "exit"))
    report = replies(step(table, answer(second, built(range(25, 30)))))["launch"]
    assert isinstance(report, VmReport)
    assert report.errors == ("m0: killed container: signal: killed",)
    assert [result.error for result in report.results].count("") == 29


def built(vm_ids: Iterable[int]) -> GuestReports:
    """A driver that has made all of them."""
    return GuestReports(reports=tuple(GuestReport(vm_id=vm_id, pid=9) for vm_id in vm_ids))
