"""Who gets a request, and who its answer."""

from __future__ import annotations

import pytest

from bus.broker.routing import MAX_ID, Peer, Refused, Router
from bus.errors import BusError, CancelledError, InvalidError, OverloadedError, UnreachableError
from bus.messages.envelope import Envelope

VM, CLIENT, OTHER = b"\x00vm", b"\x00cl", b"\x00ot"


def router() -> Router:
    """A router of host kn1 with one actor, vm."""
    made = Router("kn1")
    made.register("vm", Peer(VM, "e1", 10))
    return made


def request(to: str = "vm", msg_id: str = "m1", *, ttl_ms: int = 1000, sender: str = "") -> Envelope:
    """A request envelope."""
    return Envelope(kind="request", id=msg_id, to=to, ttl_ms=ttl_ms, sender=sender)


def reply(msg_id: str = "m1", *, sender: str = "") -> Envelope:
    """A reply envelope."""
    return Envelope(kind="reply", id=msg_id, sender=sender)


@pytest.mark.parametrize("to", ["vm", "vm@kn1", "vm@localhost"])
def test_a_request_goes_to_who_is_registered_and_the_answer_back(to: str) -> None:
    table = router()
    peer, onward = table.request(CLIENT, request(to, sender="forged@kn9"), 0.0)
    assert (peer, onward.sender, onward.host) == (VM, f"peer-{CLIENT.hex()}@kn1", "kn1")
    routed = table.answer(VM, reply(sender="forged@kn9"))
    assert routed is not None
    assert (routed[0], routed[1].sender) == (CLIENT, "vm@kn1")
    assert table.pending == {}


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (request("nobody"), UnreachableError),
        (request("vm@kn2"), UnreachableError),
        (request(""), InvalidError),
        (request("v m"), InvalidError),
        (request(msg_id=""), InvalidError),
        (request(msg_id="x" * (MAX_ID + 1)), InvalidError),
        (request(ttl_ms=0), InvalidError),
        (request(ttl_ms=-5), InvalidError),
    ],
)
def test_what_cannot_be_forwarded_is_refused(envelope: Envelope, error: type[BusError]) -> None:
    table = router()
    with pytest.raises(Refused) as caught:
        table.request(CLIENT, envelope, 0.0)
    assert type(caught.value.error) is error
    assert table.pending == {}


def test_too_many_requests_in_flight_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.broker.routing.MAX_PENDING", 1)
    table = router()
    table.request(CLIENT, request(), 0.0)
    with pytest.raises(Refused) as caught:
        table.request(CLIENT, request(msg_id="m2"), 0.0)
    assert isinstance(caught.value.error, OverloadedError)


def test_only_who_was_asked_may_answer_and_only_once() -> None:
    table = router()
    table.register("other", Peer(OTHER, "e1", 11))
    table.request(CLIENT, request(), 0.0)
    assert table.answer(OTHER, reply()) is None
    assert table.answer(CLIENT, reply()) is None
    assert table.answer(VM, reply("m9")) is None
    assert table.answer(VM, reply()) is not None
    assert table.answer(VM, reply()) is None


def test_a_repeat_has_the_answer_sent_to_whoever_asked_last() -> None:
    table = router()
    table.request(CLIENT, request(), 0.0)
    table.request(OTHER, request(), 0.0)
    routed = table.answer(VM, reply())
    assert routed is not None
    assert routed[0] == OTHER


def test_requests_of_a_lost_connection_are_cancelled() -> None:
    table = router()
    table.request(CLIENT, request(), 0.0)
    table.request(OTHER, request(msg_id="m2"), 0.0)
    told = table.cancel(table.drop(VM))
    assert [(asker, msg_id) for asker, msg_id, _, _ in told] == [(CLIENT, "m1"), (OTHER, "m2")]
    assert all(isinstance(error, CancelledError) and "vm@kn1" in str(error) for *_, error in told)
    assert (table.peers, table.pending) == ({}, {})
    assert table.cancel(["m1"]) == []


def test_a_second_bearer_of_a_name_takes_over_and_the_first_ones_requests_are_lost() -> None:
    table = router()
    table.request(CLIENT, request(), 0.0)
    assert table.register("vm", Peer(OTHER, "e2", 12)) == ["m1"]
    table.cancel(["m1"])
    assert table.request(CLIENT, request(msg_id="m2"), 0.0)[0] == OTHER
    assert table.drop(VM) == []
    assert table.peers["vm"].identity == OTHER


def test_a_repeated_hello_changes_nothing_in_flight() -> None:
    table = router()
    table.request(CLIENT, request(), 0.0)
    assert table.register("vm", Peer(VM, "e1", 10)) == []
    assert table.answer(VM, reply()) is not None


def test_a_connection_has_one_name() -> None:
    table = router()
    table.register("vm2", Peer(VM, "e1", 10))
    assert set(table.peers) == {"vm2"}
    assert table.name_of(VM) == "vm2@kn1"


def test_who_has_left_takes_no_more_requests_but_answers_what_it_has() -> None:
    table = router()
    table.request(CLIENT, request(), 0.0)
    table.leave(VM)
    with pytest.raises(Refused):
        table.request(CLIENT, request(msg_id="m2"), 0.0)
    routed = table.answer(VM, reply())
    assert routed is not None
    assert routed[1].sender == "vm@kn1"


def test_requests_are_forgotten_some_time_after_their_askers_gave_up() -> None:
    table = router()
    table.request(CLIENT, request(ttl_ms=1000), 100.0)
    table.request(CLIENT, request(msg_id="m2", ttl_ms=60_000), 100.0)
    assert table.expire(101.9) == 0
    assert table.expire(102.1) == 1
    assert set(table.pending) == {"m2"}
