"""Requests of remote clients at an actor: each key has its turn, and nobody waits for what another has heaped up."""

from __future__ import annotations

from pathlib import Path

from bus.actor.turns import BURST_BYTES, RATE_BYTES, Turns, key_of
from bus.messages.vm import GetVmNames
from tests.unit.bus.toy import running


def test_a_request_is_a_keys_by_its_id() -> None:
    assert [key_of(msg_id) for msg_id in ("key:alice:7", "key:alice:7/ab/1", "7", "vm@h/key-1", "")] == [
        *("alice", "alice", "", "", "")
    ]


def test_each_key_has_its_turn_and_keeps_its_order() -> None:
    turns: Turns[str] = Turns()
    for request in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.add(request[0], request, 10.0)
    assert len(turns) == 6
    assert [turns.take(0.0) for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", None]
    assert len(turns) == 0


def test_who_was_answered_with_much_waits_and_nobody_else_does() -> None:
    turns: Turns[str] = Turns()
    for request in ("a1", "a2", "b1"):
        turns.add(request[0], request, 10.0)
    assert turns.take(0.0) == "a1"
    turns.answered("a", BURST_BYTES + RATE_BYTES, 0.0)
    assert turns.pause_s(0.0) == 0.0
    assert [turns.take(0.0), turns.take(0.0)] == ["b1", None]
    assert turns.pause_s(0.25) == 0.75
    assert turns.take(0.75) is None
    assert turns.take(1.0) == "a2"


def test_a_request_that_nobody_waits_for_any_more_is_passed_over() -> None:
    turns: Turns[str] = Turns()
    turns.add("a", "late", 1.0)
    turns.add("a", "in time", 3.0)
    assert turns.take(2.0) == "in time"
    turns.add("a", "late", 1.0)
    assert turns.take(2.0) is None
    assert len(turns) == 0


def test_what_keys_were_answered_with_is_forgotten_when_it_does_not_count_any_more() -> None:
    turns: Turns[str] = Turns()
    for number in range(1000):
        turns.answered(f"key{number}", 1000, float(number))
    assert len(turns._owed) < 20


async def test_who_asks_here_does_not_wait_for_a_heap_of_requests_of_a_key(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        for number in range(1000):
            toy.deliver(GetVmNames(), f"key:alice:{number}", ttl_ms=60_000)
        toy.deliver(GetVmNames(), "key:bob:1", ttl_ms=60_000)
        toy.deliver(GetVmNames(), "local")
        assert toy.actor.inbox() == 1001
        await toy.reply_to("local")
        await toy.reply_to("key:bob:1")
        assert len(toy.port.replies) < 10, "one of a key in each round of the loop"
        await toy.until(lambda: len(toy.port.replies) == 1002)
        order = [int(msg_id.rpartition(":")[2]) for msg_id, _ in toy.port.replies if msg_id.startswith("key:alice:")]
        assert order == list(range(1000))
        await toy.until(lambda: toy.actor.inbox() == 0)
