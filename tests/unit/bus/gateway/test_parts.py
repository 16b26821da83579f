"""The pure parts of the gateway: connections, relayed requests, subscriptions, the address, the client's side."""

from __future__ import annotations

import errno

import pytest
import zmq

from bus.access.key_files import ClientFile
from bus.access.keys import Key, Role
from bus.broker.routing import Peer, Router
from bus.errors import DeniedError, InvalidError, OverloadedError, UnreachableError
from bus.gateway.connections import Connections
from bus.gateway.greed import Greed, Traffic
from bus.gateway.relay import MAX_BYTES_OF_KEY, NOBODY, Relay
from bus.gateway.throttle import Throttle
from bus.gateway.watchers import Heard, Watchers
from bus.messages.envelope import Envelope
from bus.remote import Door, Remote
from bus.settings.listen_address import Endpoint, parse_endpoint, parse_listen

ALICE = Key(name="alice", public="a" * 40, role=Role.CONTROL)
BOB = Key(name="bob", public="b" * 40, role=Role.TAP, topics=("vm/exp1/", "log/"))


def asked(msg_id: str = "1", **fields: object) -> Envelope:
    """A request."""
    return Envelope(kind="request", id=msg_id, to="vm", ttl_ms=1000, **fields)  # type: ignore[arg-type]


# --- requests


def test_inside_an_id_and_a_sender_are_the_keys_whatever_a_client_claims() -> None:
    relay = Relay()
    claimed = asked("7", sender="vm@h", host="h", cause="c")
    inner = relay.inward(b"conn", ALICE, claimed, 0.0)
    assert (inner.id, inner.sender, inner.cause, inner.host) == ("key:alice:7", "key:alice", "key:alice:c", "")
    back = relay.outward(Envelope(kind="reply", id="key:alice:7", type="ack", sender="vm@h", seq=3))
    assert back is not None
    assert (back[0], back[1].id, back[1].sender, back[1].seq) == (b"conn", "7", "vm@h", 3)
    assert relay.outward(Envelope(kind="reply", id="key:alice:7")) is None


def test_the_same_id_of_another_key_is_another_request() -> None:
    relay = Relay()
    first, second = (relay.inward(key.name.encode(), key, asked("7"), 0.0) for key in (ALICE, BOB))
    assert first.id != second.id
    assert relay.inward(b"x", BOB, asked("alice:7"), 0.0).id not in (first.id, "key:alice:7")
    routed = relay.outward(Envelope(kind="reply", id=second.id))
    assert routed is not None
    assert routed[0] == b"bob"


def test_who_asks_again_on_another_connection_gets_the_answer_there() -> None:
    relay = Relay()
    inner = relay.inward(b"old", ALICE, asked("7"), 0.0)
    relay.inward(b"new", ALICE, asked("7"), 1.0)
    relay.drop(frozenset((b"old",)))
    routed = relay.outward(Envelope(kind="reply", id=inner.id))
    assert routed is not None
    assert routed[0] == b"new"


def test_requests_have_limits_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.gateway.relay.MAX_OF_KEY", 2)
    relay = Relay()
    for number in range(2):
        relay.inward(b"c", ALICE, asked(str(number)), 0.0)
    with pytest.raises(OverloadedError):
        relay.inward(b"c", ALICE, asked("2"), 0.0)
    relay.inward(b"c", BOB, asked("2"), 5.0)
    relay.expire(3.0)
    assert [one.msg_id for one in relay.waiting.values()] == ["2"]
    relay.inward(b"c", ALICE, asked("2"), 5.0)
    assert [one.public for one in relay.lost()] == [BOB.public, ALICE.public]
    assert not relay.waiting
    for bad in (asked(""), asked("x" * 1000), asked("1", cause="x" * 1000)):
        with pytest.raises(InvalidError):
            relay.inward(b"c", ALICE, bad, 0.0)


def test_who_comes_and_goes_has_no_more_requests_under_way_than_who_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.gateway.relay.MAX_OF_KEY", 2)
    relay = Relay()
    inner = [relay.inward(b"old", ALICE, asked(str(number)), 0.0).id for number in range(2)]
    relay.drop(frozenset((b"old",)))
    with pytest.raises(OverloadedError):
        relay.inward(b"new", ALICE, asked("2"), 0.0)
    routed = relay.outward(Envelope(kind="reply", id=inner[0]))
    assert routed is not None
    assert routed[0] == NOBODY
    relay.inward(b"new", ALICE, asked("1"), 0.0)  # the same again, by one who has come back
    relay.inward(b"new", ALICE, asked("2"), 0.0)
    routed = relay.outward(Envelope(kind="reply", id=inner[1]))
    assert routed is not None
    assert routed[0] == b"new"


def test_the_broker_takes_the_name_of_a_key_from_the_gateway_alone() -> None:
    router = Router("kn1")
    router.register("vm", Peer(b"vm", "e", 1))
    router.register("gateway", Peer(b"gate", "e", 2))
    senders = [
        router.request(who, asked(str(number), sender=sender), 0.0)[1].sender
        for number, (who, sender) in enumerate(
            ((b"gate", "key:alice"), (b"gate", "vm@kn1"), (b"vm", "key:alice"), (b"\x01", "key:alice"))
        )
    ]
    assert senders == ["key:alice", "gateway@kn1", "vm@kn1", "peer-01@kn1"]


def test_the_bytes_under_way_have_a_limit_but_one_request_may_be_large() -> None:
    relay = Relay()
    large = MAX_BYTES_OF_KEY + 1
    inner = relay.inward(b"c", ALICE, asked("1"), 0.0, large)
    with pytest.raises(OverloadedError):
        relay.inward(b"c", ALICE, asked("2"), 0.0, 1)
    relay.inward(b"c", BOB, asked("2"), 0.0, 1)
    relay.inward(b"c", ALICE, asked("1"), 0.0, large)  # the same again
    assert relay.outward(Envelope(kind="reply", id=inner.id)) is not None
    relay.inward(b"c", ALICE, asked("2"), 0.0, 1)


# --- subscriptions


def sub(prefix: str) -> bytes:
    """The frame that asks for it."""
    return b"\x01" + prefix.encode()


def unsub(prefix: str) -> bytes:
    """The frame that ends it."""
    return b"\x00" + prefix.encode()


def test_a_subscription_goes_up_once_and_comes_down_with_the_last() -> None:
    watchers = Watchers()
    assert watchers.heard(1, ALICE, sub("vm/")) == Heard(subscribe=("vm/",), join=("vm/",))
    assert watchers.heard(1, ALICE, sub("vm/")) == Heard()
    assert watchers.heard(2, ALICE, sub("vm/")) == Heard(subscribe=("vm/",))
    assert watchers.heard(1, ALICE, unsub("vm/")) == Heard(unsubscribe=("vm/",))
    assert watchers.heard(1, ALICE, unsub("vm/")) == Heard()
    assert watchers.gone(2) == Heard(leave=("vm/",))
    assert watchers.gone(2) == Heard()
    assert watchers.wanted() == ()


def test_narrowed_subscriptions_that_overlap_end_one_by_one() -> None:
    watchers = Watchers()
    assert watchers.heard(1, BOB, sub("")).subscribe == ("log/", "vm/exp1/")
    assert watchers.heard(1, BOB, sub("vm/")) == Heard()
    assert watchers.heard(1, BOB, sub("stats/")) == Heard()
    assert watchers.told(1) == (("stats/",), ("", "vm/"))
    assert watchers.heard(1, BOB, unsub("")) == Heard(unsubscribe=("log/",), leave=("log/",))
    assert watchers.heard(1, BOB, unsub("vm/")) == Heard(unsubscribe=("vm/exp1/",), leave=("vm/exp1/",))
    assert watchers.heard(1, BOB, unsub("stats/")) == Heard()
    assert watchers.told(1) == ((), ())


def test_joining_is_for_everybody_and_goes_no_further() -> None:
    watchers = Watchers()
    assert watchers.heard(1, BOB, sub("sync/abc/")) == Heard(subscribe=("sync/abc/",), sync="sync/abc/")
    assert watchers.heard(1, BOB, unsub("sync/abc/")) == Heard(unsubscribe=("sync/abc/",))
    for bad in ("sync/", "sync", "sync/abc", "sync/a/b/", f"sync/{'x' * 200}/"):
        heard = watchers.heard(2, BOB, sub(bad))
        assert bool(heard.cut) == bad.startswith("sync/")
        assert heard.subscribe == heard.join == ()


def test_what_is_no_subscription_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    watchers = Watchers()
    for frame in (b"", b"\x02vm/", b"x", b"\x01\xff", b"\x01" + b"x" * 1025):
        assert watchers.heard(1, ALICE, frame).cut
    monkeypatch.setattr("bus.gateway.watchers.MAX_SUBSCRIPTIONS", 3)
    assert watchers.heard(1, BOB, sub("")).subscribe == ("log/", "vm/exp1/")
    assert watchers.heard(1, BOB, sub("log/a/")).subscribe == ("log/a/",)
    assert watchers.heard(1, BOB, sub("log/b/")).cut


def test_the_topics_of_a_key_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    watchers = Watchers()
    monkeypatch.setattr("bus.gateway.watchers.MAX_BYTES_OF_KEY", 10)
    assert not watchers.heard(1, ALICE, sub("vm/a/")).cut
    assert not watchers.heard(1, ALICE, sub("vm/a/")).cut
    assert "10 bytes" in watchers.heard(2, ALICE, sub("vm/\u00e4b/")).cut
    assert not watchers.heard(3, BOB, sub("vm/ab/")).cut
    assert not watchers.heard(2, ALICE, sub("vm/b/")).cut
    watchers.heard(2, ALICE, unsub("vm/b/"))
    watchers.heard(2, ALICE, unsub("vm/b/"))
    assert not watchers.heard(2, ALICE, sub("vm/c/")).cut
    watchers.gone(1)
    assert not watchers.heard(2, ALICE, sub("vm/d/")).cut
    assert watchers.heard(2, ALICE, sub("a/")).cut


# --- connections


def test_a_connection_is_its_keys_from_the_first_word_on() -> None:
    connections = Connections()
    assert connections.accepted(5, "10.0.0.1", 1000, 0.0) == ""
    assert connections.accepted(6, "10.0.0.1", 1001, 0.0) == ""
    assert connections.spoke(5, ALICE.public, b"id") == ""
    assert connections.spoke(5, ALICE.public, b"id") == ""
    assert connections.spoke(5, BOB.public) == "a connection has one key"
    assert connections.by_identity == {b"id": connections.by_fd[5]}
    assert [one.fd for one in connections.of_keys(frozenset((ALICE.public,)))] == [5, 6]
    assert connections.of_keys(frozenset()) == []
    assert [one.fd for one in connections.silent(61.0)] == [6]
    gone = connections.gone(5)
    assert gone is not None
    assert (gone.peer, gone.identity) == ("10.0.0.1:1000", b"id")
    assert connections.by_identity == {}
    assert connections.gone(5) is None


def test_connections_are_limited_by_number_key_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.gateway.connections.MAX_CONNECTIONS", 3)
    monkeypatch.setattr("bus.gateway.connections.MAX_OF_KEY", 1)
    monkeypatch.setattr("bus.gateway.connections.MAX_ACCEPTED", 5)
    connections = Connections()
    for fd in (1, 2, 3):
        assert not connections.accepted(fd, "10.0.0.1", fd, 0.0)
        assert connections.crowded_out() is None
    assert not connections.accepted(4, "10.0.0.2", 4, 0.0)
    assert not connections.spoke(1, ALICE.public)
    assert "1 connections" in connections.spoke(2, ALICE.public)
    for fd in (1, 2, 3, 4):
        connections.gone(fd)
    assert not connections.spoke(9, ALICE.public)  # never heard of: nothing to count
    for fd in (1, 2):
        assert not connections.accepted(fd, "10.0.0.1", fd, 1.0)
    assert "from 10.0.0.1" in connections.accepted(3, "10.0.0.1", 3, 2.0)
    assert not connections.accepted(3, "10.0.0.1", 3, 12.0)


def test_a_number_that_one_port_has_done_with_is_soon_the_others() -> None:
    connections = Connections()
    connections.accepted(5, "10.0.0.1", 1000, 0.0, 9000)
    connections.spoke(5, ALICE.public, b"id")
    connections.accepted(5, "10.0.0.2", 1000, 0.0, 9001)  # heard of before the end of the first
    assert connections.gone(5, 9000) is None
    assert connections.by_fd[5].peer == "10.0.0.2:1000"
    assert connections.by_identity == {}
    gone = connections.gone(5, 9001)
    assert gone is not None
    assert connections.gone(5, 9001) is None


def test_who_says_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.gateway.connections.MAX_CONNECTIONS", 3)
    connections = Connections()
    for fd in (1, 2, 3, 4):
        assert not connections.accepted(fd, "10.0.0.1", fd, 0.0)
    assert not connections.spoke(1, ALICE.public)
    assert connections.crowded_out() == 2
    connections.cutting(connections.by_fd[2])
    assert connections.crowded_out() is None
    connections.accepted(5, "10.0.0.1", 5, 0.0)
    assert connections.crowded_out() == 3
    connections.gone(2)
    assert connections.crowded_out() == 3
    for fd in (3, 4, 5):
        assert not connections.spoke(fd, BOB.public)
    assert connections.crowded_out() == 5
    connections.gone(4)
    assert connections.crowded_out() is None


def test_who_does_not_read_falls_behind_and_who_sends_is_seen() -> None:
    greed = Greed()
    greed.look({1: Traffic(10, 0, 0, 0), 2: Traffic(0, 0, 0, 0)})
    assert (greed.sent, greed.behind) == ({1: 0, 2: 0}, {})
    greed.look({1: Traffic(90, 50, 0, 100), 2: Traffic(0, 40, 60, 100), 3: Traffic(7, 0, 9, 100)})
    assert greed.sent == {1: 80, 2: 0, 3: 0}
    assert greed.behind == {2: 60}  # what the first got is on its way; of the third nothing is known yet
    greed.look({2: Traffic(0, 50, 60, 500), 3: Traffic(7, 0, 9, 500)})
    assert greed.behind == {2: 450, 3: 400}
    greed.look({2: Traffic(0, 500, 0, 500), 3: Traffic(7, 0, 9, 500)})
    assert greed.behind == {3: 400}
    greed.look({3: Traffic(2, 0, 9, 900)})  # another connection with the same number
    assert (greed.sent, greed.behind) == ({3: 0}, {})


def test_a_key_is_banished_for_a_while() -> None:
    connections = Connections()
    assert not connections.is_banished(ALICE.public, 1.0)
    connections.banish(ALICE.public, 1.0)
    assert [connections.is_banished(ALICE.public, at) for at in (1.0, 5.9, 6.0, 1.0)] == [True, True, False, False]
    assert not connections.is_banished(BOB.public, 1.0)


def test_a_throttle_counts_what_it_holds_back() -> None:
    throttle = Throttle(2, 10.0)
    assert [throttle.allows(at) for at in (0.0, 1.0, 2.0, 9.0, 10.5, 10.6, 11.5)] == [0, 0, None, None, 2, None, 1]


# --- addresses and the client's side


@pytest.mark.parametrize(
    ("text", "endpoint", "events"),
    [
        ("tcp://127.0.0.1:9002", Endpoint("127.0.0.1", 9002), "tcp://127.0.0.1:9003"),
        ("tcp://[::1]:9002", Endpoint("::1", 9002), "tcp://[::1]:9003"),
        ("tcp://kn1.example.org:1", Endpoint("kn1.example.org", 1), "tcp://kn1.example.org:2"),
    ],
)
def test_addresses(text: str, endpoint: Endpoint, events: str) -> None:
    assert parse_endpoint(text) == endpoint
    assert (str(endpoint), endpoint.requests, endpoint.events) == (text, text, events)


@pytest.mark.parametrize(
    "text",
    [
        *("", "9002", "127.0.0.1:9002", "tcp://127.0.0.1", "tcp://:9002", "tcp://::1:9002", "tcp://[127.0.0.1]:9002"),
        *(
            "tcp://*:9002",
            "tcp://a:0",
            "tcp://a:65535",
            "tcp://a:x",
            "tcp://a b:1",
            "ipc:///x:1",
            "tcp://[fe80::1%eth0]:1",
        ),
        "tcp://" + "a" * 5000 + "!:1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_endpoint(text)
    assert len(str(caught.value)) < 200


def test_one_listens_on_an_ip_address() -> None:
    assert parse_listen("tcp://0.0.0.0:9002").host == "0.0.0.0"
    with pytest.raises(InvalidError):
        parse_listen("tcp://kn1:9002")


def a_door(expires: str = "") -> Door:
    """That of alice."""
    keys = ClientFile(name="alice", public="p" * 40, secret="s" * 40, server="v" * 40, expires=expires)
    return Door(Remote(parse_endpoint("tcp://kn1:9002"), keys))


@pytest.mark.parametrize(
    ("event", "value", "kind", "words"),
    [
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, DeniedError, "refuses the key alice: it is unknown there"),
        (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EPIPE, UnreachableError, "another server key"),
        (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EAGAIN, UnreachableError, "does not answer as minibus does"),
        (zmq.EVENT_CLOSED, 9, UnreachableError, "nobody listens at tcp://kn1:9002"),
        (zmq.EVENT_CONNECT_RETRIED, 100, UnreachableError, "no way to tcp://kn1:9002"),
    ],
)
def test_why_a_connection_does_not_come_about(event: int, value: int, kind: type[Exception], words: str) -> None:
    door = a_door()
    door.happened(event, value)
    assert isinstance(door.trouble, kind)
    assert words in str(door.trouble)
    door.happened(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
    assert door.is_open
    assert door.trouble is None
    door.happened(zmq.EVENT_DISCONNECTED, 9)
    assert not door.is_open
    assert door.trouble is None  # until it is known whether it comes back


def test_a_key_that_has_expired_says_so_itself() -> None:
    door = a_door(expires="2020-01-01T00:00:00Z")
    door.happened(zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
    assert str(door.trouble).endswith("it expired at 2020-01-01T00:00:00Z")
    door.happened(zmq.EVENT_CLOSED, 9)
    assert isinstance(door.trouble, DeniedError)
