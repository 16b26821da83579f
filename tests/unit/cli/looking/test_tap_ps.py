from __future__ import annotations

import base64
import json

import msgpack
import pytest

from bus.errors import InvalidError
from bus.messages.control import ActorStatus, Fall
from bus.messages.envelope import Envelope
from bus.port import Delivery
from cli.looking.ps import status_object, status_table
from cli.looking.tap import as_prefix, event_json, event_line


def delivery(body: bytes) -> Delivery:
    envelope = Envelope(
        kind="event", id="1", sender="vm@n1", epoch="e", seq=5, topic_seq=2, time=1_700_000_000.25, host="n1"
    )
    return Delivery("vm/minimega/web/started/", envelope, body)


def test_an_event_as_json() -> None:
    body = {"type": "something.new", "x": [1, {"y": b"\xff"}], 5: None}
    assert json.loads(event_json(delivery(msgpack.packb(body)))) == {
        "topic": "vm/minimega/web/started/",
        "epoch": "e",
        "seq": 5,
        "topic_seq": 2,
        "time": 1_700_000_000.25,
        "publisher": "vm@n1",
        "body": {"type": "something.new", "x": [1, {"y": "/w=="}], "5": None},
    }


def test_an_event_as_a_line() -> None:
    line = event_line(delivery(msgpack.packb({"type": "vm.started", "name": "a\nb"})))
    assert line.endswith('.250 vm/minimega/web/started/ {"name":"a\\nb"}')


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"one\ntw\xc3\xb6\n", "one\ntw\u00f6\n"),
        (b"\xff\x00", "/wA="),
        (b"", ""),
        (b"x" * 511 + "\u00f6".encode() + b"\n", "x" * 511 + "... (514 bytes)"),
    ],
)
def test_messages_of_a_pipe_are_shown_as_text_if_they_are(data: bytes, shown: str) -> None:
    event = delivery(msgpack.packb({"type": "pipe.batch", "first_seq": 1, "count": 2, "data": data}))
    body = json.loads(event_line(event).partition(" ")[2].partition(" ")[2])
    assert body == {"first_seq": 1, "count": 2, "data": shown}
    assert json.loads(event_json(event))["body"]["data"] == base64.b64encode(data).decode()


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93", b"\x81\x93\x01\x02\x03\x01"])
def test_a_body_that_is_no_message_is_shown_all_the_same(body: bytes) -> None:
    assert event_line(delivery(body)).count("\n") == 0
    assert json.loads(event_json(delivery(body)))["topic_seq"] == 2


ACTORS = (
    ActorStatus(actor="node", pid=1, state="running", pss_mib=9.876),
    ActorStatus(
        actor="vm",
        pid=12345,
        state="backoff",
        restarts=3,
        inbox=7,
        reason="killed by SIGKILL",
        falls=(Fall(time_s=5.0, kind="killed", reason="killed by SIGKILL"),),
    ),
    ActorStatus(actor="gateway", pid=7, state="running", address="tcp://10.0.0.1:9002"),
)


@pytest.mark.parametrize(
    ("typed", "prefix"),
    [
        ("", ""),
        ("vm", "vm/"),
        ("vm/exp1/", "vm/exp1/"),
        ("pipe/exp1/my pipe", "pipe/exp1/my%20pipe/"),
        ("pipe/exp1/my%20pipe/", "pipe/exp1/my%20pipe/"),
        ("pipe/exp1/100%", "pipe/exp1/100%25/"),
        ("/", "/"),
        ("vm//", "vm//"),
    ],
)
def test_a_topic_is_whole_words_however_it_was_typed(typed: str, prefix: str) -> None:
    assert as_prefix(typed) == prefix


def test_a_topic_that_is_no_text() -> None:
    with pytest.raises(InvalidError, match="not UTF-8"):
        as_prefix("pipe/\udcff")


def test_ps_as_a_table() -> None:
    assert status_table(ACTORS) == (
        "actor      pid  state    restarts  inbox  pss_mib\n"
        "node         1  running         0      0     9.88\n"
        "vm       12345  backoff         3      7      0.0  killed by SIGKILL\n"
        "gateway      7  running         0      0      0.0  tcp://10.0.0.1:9002"
    )


def test_ps_as_json() -> None:
    assert status_object(ACTORS[1]) == {
        "actor": "vm",
        "pid": 12345,
        "state": "backoff",
        "restarts": 3,
        "inbox": 7,
        "pss_mib": 0.0,
        "reason": "killed by SIGKILL",
        "falls": [{"time_s": 5.0, "kind": "killed", "reason": "killed by SIGKILL"}],
        "address": "",
    }
