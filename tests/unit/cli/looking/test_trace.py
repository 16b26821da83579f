"""What a request led to, from what each process remembers."""

from __future__ import annotations

import json

import pytest

from bus.errors import InvalidError, NotFoundError
from bus.messages.debug import InputKind, InputRecord
from cli.looking.inputs import Seen, line
from cli.looking.processes import Input
from cli.looking.trace import listing, tree
from cli.looking.trace_tree import as_object, find, roots, steps, walk


def seen(
    actor: str,
    kind: InputKind,
    type_: str,
    msg_id: str = "",
    *,
    cause: str = "",
    at_s: float = 0.0,
    took_s: float | None = 0.001,
    outcome: str = "ok",
    sender: str = "",
    to: str = "",
    summary: str = "",
) -> Input:
    """One input of an actor."""
    record = InputRecord(
        number=1,
        time_s=1_700_000_000 + at_s,
        kind=kind,
        type=type_,
        id=msg_id,
        cause=cause,
        sender=sender,
        to=to,
        duration_s=took_s,
        outcome=outcome,
        summary=summary,
    )
    return Input(actor, record)


LAUNCH = [
    seen("cli", "command", "vm launch", "c1", took_s=0.1),
    seen("cli", "ask", "namespace.launch", "a1", cause="c1", at_s=0.001, took_s=0.09, to="namespace@n1"),
    seen("namespace", "request", "namespace.launch", "a1", cause="c1", at_s=0.002, took_s=0.08, sender="cli@n1"),
    seen("namespace", "ask", "vm.launch", "a2", cause="a1", at_s=0.003, took_s=0.07, to="vm@n1"),
    seen("vm", "request", "vm.launch", "a2", cause="a1", at_s=0.004, took_s=0.06, summary="names=web"),
    seen("vm", "report", "vm.instances_prepared", cause="a2", at_s=0.005),
    seen("vm", "ask", "guest.create", "a3", cause="a2", at_s=0.006, took_s=None, outcome="", to="container"),
    seen("vm", "report", "recovered"),
]


def test_a_tree_in_order_of_time() -> None:
    table = steps(reversed(LAUNCH))
    text = list(tree(find(table, "c1")))
    assert [entry.strip() for entry in text[1:]] == [
        "+0 us  vm launch  in cli  ok  took 100 ms",
        "+1 ms    namespace.launch  cli -> namespace  ok  took 90 ms  (handled in 80 ms)",
        "+3 ms      vm.launch  namespace -> vm  names=web  ok  took 70 ms  (handled in 60 ms)",
        "+5 ms        vm.instances_prepared  reported in vm",
        "+6 ms        guest.create  vm -> container  in progress",
    ]


def test_a_part_of_a_tree_names_what_led_to_it() -> None:
    first = next(tree(find(steps(LAUNCH), "a2")))
    assert first.endswith("  a2  (led to by a1)")


def test_the_newest_roots() -> None:
    others = [
        seen("vm", "request", "vm.kill", "k1", at_s=5.0, outcome="denied", sender="peer-00ff@n1"),
        seen("vm", "request", "vm.kill", "k2", at_s=4.0, cause="nobody-remembers"),
    ]
    found = roots(steps([*LAUNCH, *others]))
    assert [step.id for step in found] == ["c1", "k2", "k1"]
    rows = listing(found).splitlines()
    assert rows[0].split()[:3] == ["time", "id", "what"]
    assert rows[1].split()[1:] == ["c1", "vm", "launch", "in", "cli", "100", "ms", "ok", "4"]
    assert rows[3].split()[1:] == ["k1", "vm.kill", "client", "->", "vm", "1", "ms", "denied", "0"]


def test_for_programs() -> None:
    whole = json.loads(json.dumps(as_object(find(steps(LAUNCH), "c1"))))
    below = whole["children"][0]
    assert (below["id"], below["outcome"], [one["actor"] for one in below["seen"]]) == (
        "a1",
        "ok",
        ["cli", "namespace"],
    )
    last = below["children"][0]["children"][0]
    assert (last["type"], last["outcome"], last["duration_s"]) == ("guest.create", "in progress", None)


def test_ids_by_their_beginnings() -> None:
    table = steps([seen("vm", "request", "vm.kill", msg_id) for msg_id in ("abcdef", "abcxyz", "abc")])
    assert find(table, "abcd").id == "abcdef"
    assert find(table, "abc").id == "abc"
    with pytest.raises(NotFoundError, match="nobody remembers abce:"):
        find(table, "abce")
    for short in ("ab", ""):
        with pytest.raises(InvalidError, match="its first 4 characters at least"):
            find(table, short)
    table = steps([seen("vm", "request", "vm.kill", f"abcd{number}") for number in range(9)])
    with pytest.raises(InvalidError, match=r"several ids begin with abcd: abcd0, .*abcd4, \.\.\.$"):
        find(table, "abcd")


def test_an_earlier_refusal_is_not_what_it_is_about() -> None:
    found = [
        seen("broker", "request", "guest.list.get", "a1", outcome="unreachable", to="container", summary="no actor"),
        seen("container", "request", "guest.list.get", "a1", at_s=0.05),
    ]
    assert "no actor" not in listing(roots(steps(found)))
    assert "no actor" in listing(roots(steps(found[:1])))


def test_asked_again_and_answered_by_the_second() -> None:
    table = steps(
        [
            seen("cli", "ask", "vm.kill", "a1", outcome="cancelled", to="vm"),
            seen("broker", "request", "", "a1", at_s=0.1, outcome="cancelled", took_s=0.0),
            seen("cli", "ask", "vm.kill", "a1", at_s=1.0, to="vm"),
            seen("vm", "request", "vm.kill", "a1", at_s=1.1, sender="cli@n1"),
        ]
    )
    (text,) = list(tree(table["a1"]))[1:]
    assert "vm.kill  cli -> vm  ok" in text
    assert "took 1 s" in text
    assert "asked 2 times" in text


def test_who_makes_up_ids_gets_no_endless_tree() -> None:
    ring = [seen("vm", "request", "x", str(number), cause=str((number + 1) % 5)) for number in range(5)]
    itself = [seen("vm", "request", "x", "self", cause="self")]
    chain = [seen("vm", "request", "x", f"n{number}", cause=f"n{number - 1}") for number in range(3000)]
    table = steps([*ring, *itself, *chain])
    assert all(len(list(walk(step))) <= 5 for step in (table["0"], table["self"]))
    assert len(list(walk(table["n0"]))) > 50
    assert list(tree(table["self"]))


def test_control_characters_never_reach_the_terminal() -> None:
    bad = seen("vm", "request", "t\x1b[2J", "i\x1b", cause="c\x1b", sender="s\x1b", summary="a\x1b\nb\x9b")
    for text in (line(bad), *tree(steps([bad])["i\x1b"]), listing(roots(steps([bad])))):
        assert "\x1b" not in text
        assert "\x9b" not in text
    assert "\n" not in line(bad)


# --- inputs


def numbered(number: int, outcome: str = "ok") -> InputRecord:
    """An input with this number."""
    return InputRecord(number=number, time_s=0.0, kind="request", type="vm.kill", outcome=outcome)


def test_following_shows_each_once_and_again_when_it_has_ended() -> None:
    known = Seen()
    assert not known.restarted("vm", "e1")
    assert [one.record.number for one in known.fresh("vm", (numbered(1), numbered(2, ""), numbered(3)))] == [1, 2, 3]
    question = known.question("vm")
    assert (question.after, question.also) == (3, (2,))
    assert known.fresh("vm", (numbered(2, ""),)) == []
    assert [one.record.number for one in known.fresh("vm", (numbered(2), numbered(4)))] == [2, 4]
    assert known.question("vm").also == ()
    assert known.restarted("vm", "e2")
    assert (known.question("vm").after, known.question("cli").after) == (0, 0)
    assert [one.record.number for one in known.fresh("vm", (numbered(1),))] == [1]
