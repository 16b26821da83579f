"""Decisions about children: stages, restart limit, back-off, silence."""

from __future__ import annotations

import pytest

from bus.node import supervision
from bus.node.supervision import HANG_S, STABLE_S, START_S, Child, ChildSpec, ChildState

IDLE = (ChildState.WAITING, ChildState.BACKOFF, ChildState.FAILED, ChildState.STOPPED)


def child(name: str = "vm", *, stage: int = 2, max_restarts: int = 5, state: ChildState = ChildState.WAITING) -> Child:
    """A child without a process."""
    made = Child(ChildSpec(name=name, entry="m:f", stage=stage, max_restarts=max_restarts))
    made.state = state
    return made


def running(at_s: float = 0.0) -> Child:
    """A child that serves."""
    made = child()
    supervision.started(made, 10, at_s)
    supervision.ready(made, at_s)
    return made


def fall(one: Child, at_s: float, *, after_s: float = 0.0) -> None:
    """It starts, serves for a while and falls over."""
    supervision.started(one, 10, at_s - after_s)
    supervision.ready(one, at_s - after_s)
    supervision.ended(one, "killed by SIGKILL", at_s)


def names(children: list[Child]) -> list[str]:
    """Of these children."""
    return [one.spec.name for one in children]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("waiting", "waiting", "waiting", "waiting"), ["warden"]),
        (("starting", "waiting", "waiting", "waiting"), []),
        (("running", "waiting", "waiting", "waiting"), ["broker"]),
        (("running", "starting", "waiting", "waiting"), []),
        (("running", "backoff", "waiting", "waiting"), ["broker"]),
        (("running", "running", "waiting", "waiting"), ["vm", "cli"]),
        (("running", "failed", "waiting", "waiting"), []),
        (("running", "running", "running", "running"), []),
        (("backoff", "running", "running", "stopped"), ["warden"]),
    ],
)
def test_a_stage_starts_when_the_one_before_it_serves(states: tuple[str, ...], expected: list[str]) -> None:
    children = [child("warden", stage=0), child("broker", stage=1), child("vm"), child("cli")]
    for one, state in zip(children, states, strict=True):
        one.state = ChildState(state)
    assert names(supervision.to_start(children, 1.0)) == expected


def test_restarts_wait_longer_each_time_up_to_a_limit() -> None:
    one = child(max_restarts=9)
    pauses = []
    for _ in range(9):
        fall(one, 50.0)
        pauses.append(round(one.start_at_s - 50.0, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert supervision.to_start([one], 59.9) == []
    assert supervision.to_start([one], 60.0) == [one]


def test_a_child_that_falls_too_often_is_given_up() -> None:
    one = child(max_restarts=2)
    for at_s in (1.0, 2.0):
        fall(one, at_s)
        assert one.state is ChildState.BACKOFF
    fall(one, 3.0)
    assert (one.state, one.restarts, one.reason) == (ChildState.FAILED, 2, "killed by SIGKILL")
    assert supervision.to_start([one], 1000.0) == []


def test_old_falls_and_a_stable_life_do_not_count() -> None:
    rare = child(max_restarts=1)
    for at_s in (0.0, 61.0, 122.0):
        fall(rare, at_s)
        assert rare.state is ChildState.BACKOFF
    stable = child(max_restarts=1)
    for at_s in (20.0, 31.0, 42.0):
        fall(stable, at_s, after_s=STABLE_S)
        assert stable.state is ChildState.BACKOFF


def test_who_cannot_run_here_fails_at_its_first_start_with_its_own_sentence() -> None:
    one = child()
    supervision.started(one, 10, 0.0)
    one.refusal = "vm: no room"
    supervision.ended(one, "exit status 1", 0.1)
    assert (one.state, one.reason) == (ChildState.FAILED, "vm: no room")


def test_who_is_refused_later_is_tried_again_and_its_sentence_is_not_kept_for_later_ends() -> None:
    one = child()
    fall(one, 0.0)
    supervision.started(one, 11, 1.0)
    one.refusal = "vm is already running"
    supervision.ended(one, "exit status 1", 1.1)
    assert (one.state, one.reason) == (ChildState.BACKOFF, "vm is already running")
    fall(one, 2.0)
    assert one.reason == "killed by SIGKILL"


def test_who_was_asked_to_end_has_stopped() -> None:
    one = running()
    supervision.stopping(one, 5.0)
    supervision.ended(one, "exit status 0", 6.0)
    assert (one.state, one.restarts, one.alive) == (ChildState.STOPPED, 0, False)


def test_silence_means_hung_only_beyond_the_limit_of_each_state() -> None:
    starting = child()
    supervision.started(starting, 10, 0.0)
    assert [supervision.is_hung(starting, at) for at in (START_S, START_S + 0.1)] == [False, True]
    serving = running()
    assert [supervision.is_hung(serving, at) for at in (HANG_S, HANG_S + 0.1)] == [False, True]
    supervision.heard(serving, 3, 4.0)
    assert not supervision.is_hung(serving, HANG_S + 0.1)
    assert serving.inbox == 3
    supervision.stopping(serving, 20.0)
    assert [supervision.is_hung(serving, at) for at in (30.0, 30.1)] == [False, True]
    assert not any(supervision.is_hung(child(state=state), 1e9) for state in IDLE)


def test_a_pause_of_the_node_itself_is_nobodys_silence() -> None:
    one = running()
    supervision.not_watched([one], 100.0)
    assert not supervision.is_hung(one, 100.0 + HANG_S)
    assert supervision.is_hung(one, 100.1 + HANG_S)


def test_ready_is_heard_once_and_only_when_starting() -> None:
    one = running()
    supervision.stopping(one, 1.0)
    supervision.ready(one, 1.1)
    assert one.state is ChildState.STOPPING
    assert not supervision.all_ready([running(), one])
    assert supervision.all_ready([running(), running()])


@pytest.mark.parametrize(
    ("how", "said", "forced", "kind", "reason"),
    [
        ("killed by SIGSEGV", "", False, "killed", "killed by SIGSEGV"),
        ("killed by SIGKILL", "", True, "hung", "hung: no answer for 5 s"),
        ("exit status 70", "ValueError: odd", False, "exited", "exit status 70: ValueError: odd"),
        ("ended (nobody saw how)", "", False, "lost", "ended (nobody saw how)"),
    ],
)
def test_why_it_fell_is_kept_and_counted(how: str, said: str, forced: bool, kind: str, reason: str) -> None:
    one = running()
    one.last_words = said
    if forced:
        supervision.hung(one, 6.0)
    supervision.ended(one, how, 7.0, 1_700_000_000.0)
    shown = supervision.row(one)
    assert shown["falls"] == [{"time_s": 1_700_000_000.0, "kind": kind, "reason": reason}]
    assert (shown["reason"], shown["falls_by_kind"]) == (reason, {kind: 1})
    supervision.started(one, 11, 8.0)
    supervision.ended(one, "exit status 1", 9.0)
    assert one.reason == "exit status 1", "what an earlier process said is not its own"


def test_the_last_falls_are_kept_and_all_are_counted() -> None:
    one = child(max_restarts=100)
    for number in range(20):
        fall(one, float(number))
    assert len(one.falls) == supervision.KEPT_FALLS
    assert one.falls_by_kind == {"killed": 20}


def test_one_that_is_never_ready_is_hung_too() -> None:
    one = child()
    supervision.started(one, 10, 0.0)
    supervision.hung(one, START_S)
    supervision.ended(one, "killed by SIGKILL", START_S)
    assert (one.reason, one.falls[0]["kind"]) == ("hung: never ready", "hung")


def test_what_could_not_be_forked_is_no_fall_and_is_tried_again() -> None:
    one = running()
    fall(one, 1.0)
    supervision.put_off(one, 2.0)
    assert (one.state, len(one.falls)) == (ChildState.BACKOFF, 1)
    assert supervision.to_start([one], 2.0 + supervision.START_AGAIN_S - 0.1) == []
    assert supervision.to_start([one], 2.0 + supervision.START_AGAIN_S) == [one]


def test_a_restart_that_somebody_asks_for_waits_until_the_answer_is_out() -> None:
    one = running()
    assert supervision.restart([one], "vm", 50.0) == {}
    assert supervision.to_end([one], 50.0) == []
    assert supervision.to_end([one], 50.0 + supervision.ANSWER_S) == [one]
    assert (one.state, supervision.to_end([one], 60.0)) == (ChildState.STOPPING, [])
    supervision.ended(one, "exit status 0", 51.0)
    assert (one.state, one.restarts, one.reason, list(one.falls)) == (ChildState.BACKOFF, 1, "asked for", [])
    assert supervision.to_start([one], 51.0) == [one]


def test_who_was_given_up_begins_anew_when_somebody_asks() -> None:
    one = child(max_restarts=2)
    for at_s in (1.0, 2.0, 3.0):
        fall(one, at_s)
    assert supervision.to_start([one], 1000.0) == []
    assert supervision.restart([one], "vm", 4.0) == {}
    assert supervision.to_start([one], 4.0) == [one]
    fall(one, 5.0)
    assert supervision.to_start([one], 6.0) == [one]  # not given up by its first fall


def test_a_child_that_falls_before_it_is_told_to_end_is_not_told_after_its_start() -> None:
    one = running()
    supervision.restart([one], "vm", 50.0)
    supervision.ended(one, "killed by SIGKILL", 50.05)
    supervision.started(one, 11, 50.1)
    assert supervision.to_end([one], 60.0) == []


def test_what_is_not_restarted() -> None:
    warden = Child(ChildSpec(name="warden", entry="m:f", outlives_node=True))
    supervision.started(warden, 10, 0.0)
    assert supervision.restart([warden], "warden", 1.0)["error"].startswith("warden is not ended while guests")
    assert supervision.restart([warden], "vm", 1.0)["error"] == "there is no process `vm`; there are warden"
    supervision.ended(warden, "killed by SIGKILL", 2.0)
    assert supervision.restart([warden], "warden", 2.0) == {}
    assert supervision.to_start([warden], 2.0) == [warden]
