"""What a step actor remembers of its requests."""

from __future__ import annotations

import pytest

from bus.actor import memory
from bus.actor.memory import Memory
from bus.actor.step import Ask, Fail, Publish, Reply
from bus.messages.base import Ack, Failure
from bus.messages.control import Synced
from bus.messages.guest import StartGuests
from bus.messages.vm import VmReport, VmResult

ASK = Ask(tag="start/m1", to="container", body=StartGuests(vm_ids=(1, 2)), timeout_s=5.0, namespace="exp1", cause="m1")


def test_an_answer_is_kept_with_its_namespace_and_closes_the_request() -> None:
    kept = Memory()
    kept.taken("m1", "exp1")
    kept.note([Publish(topic="t/", event=Synced()), Reply(msg_id="m1", body=Ack())], 5.0, "vm@kn1")
    assert kept.open_requests == {}
    assert kept.replies["m1"] == memory.Remembered(time_s=5.0, namespace="exp1", body=Ack())


def test_a_failure_is_kept_too_and_names_its_origin() -> None:
    kept = Memory()
    kept.taken("m1", "exp1")
    kept.note([Fail(msg_id="m1", code="conflict", message="no")], 5.0, "vm@kn1")
    assert kept.replies["m1"].body == Failure(code="conflict", message="no", origin="vm@kn1")


def test_answering_twice_or_unasked_breaks_an_invariant() -> None:
    kept = Memory()
    kept.taken("m1", "exp1")
    reply = Reply(msg_id="m1", body=Ack())
    with pytest.raises(ValueError, match="m1 is answered twice"):
        kept.note([reply, reply], 5.0, "vm@kn1")
    with pytest.raises(ValueError, match="never taken"):
        Memory().note([reply], 5.0, "vm@kn1")


def test_asks_are_open_until_closed() -> None:
    kept = Memory()
    kept.note([ASK], 1.0, "vm@kn1")
    assert kept.open_asks == {"start/m1": ASK}
    kept.closed("start/m1")
    kept.closed("start/m1")
    assert kept.open_asks == {}


def test_only_so_many_answers_are_kept_oldest_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEEP_REPLIES", 2)
    kept = Memory()
    for number, msg_id in enumerate(("a", "b", "c")):
        kept.taken(msg_id, "exp1")
        kept.note([Reply(msg_id=msg_id, body=Ack())], float(number), "vm@kn1")
    assert list(kept.replies) == ["b", "c"]
    kept.expire(1e10)
    assert list(kept.replies) == ["b", "c"]  # few, so that it does not matter what the clock has been set to
    monkeypatch.setattr(memory, "KEEP_AT_LEAST", 1)
    kept.expire(1.5 + memory.KEEP_REPLIES_S)
    assert list(kept.replies) == ["c"]
    kept.expire(1e10)
    assert list(kept.replies) == ["c"]


def test_a_snapshot_brings_everything_back() -> None:
    kept = Memory()
    for msg_id in ("m1", "m2", "m3"):
        kept.taken(msg_id, "exp1")
    report = VmReport(results=(VmResult(name="a", vm_id=3),))
    kept.note([ASK, Reply(msg_id="m1", body=report), Fail(msg_id="m2", code="invalid", message="no")], 5.0, "vm@kn1")
    again = Memory.from_builtins(kept.to_builtins())
    assert (again.replies, again.open_requests, again.open_asks) == (kept.replies, {"m3": "exp1"}, {ASK.tag: ASK})


def test_answers_are_kept_up_to_a_size_together_and_the_last_one_whatever_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "KEEP_BYTES", 10_000)
    kept = Memory()

    def answer(msg_id: str, names: int) -> None:
        kept.taken(msg_id, "exp1")
        body = VmReport(results=tuple(VmResult(name=f"web{number}") for number in range(names)))
        kept.note([Reply(msg_id=msg_id, body=body)], 5.0, "vm@kn1")

    for number in range(100):
        answer(f"m{number}", 30)
    assert 5 < len(kept.replies) < 50
    assert next(reversed(kept.replies)) == "m99"
    again = Memory.from_builtins(kept.to_builtins())
    assert list(again.replies) == list(kept.replies)
    answer("large", 10_000)
    assert list(kept.replies) == ["large"]
    answer("small", 1)
    assert list(kept.replies) == ["small"]
