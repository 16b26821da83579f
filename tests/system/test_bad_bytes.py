"""Garbage on every socket that is open to clients: it hurts nobody, and who can be answered is."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from bus.messages.envelope import PROTOCOL_VERSION
from tests.system.product import PATIENCE_S, Console, Product, one_sentence

GARBAGE = [
    b"\0" * 100,
    b"\xff\xfe{}",
    b"not json",
    b'{"Command": 5}',
    b'{"Command": ["vm info"]}',
    b"[" * 100_000,
    b'{"Command": "' + b"x" * 3_000_000,
    b'{"Command": "\\ud800"}',
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_the_command_socket(shared: Product, console: Console, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(shared.base / "minimega"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    assert "minibus" in console.ok("version")


def test_a_command_of_a_megabyte(console: Console) -> None:
    said = console.error("vm config " + "x" * 1_000_000)
    assert one_sentence(said).startswith("invalid command: `vm config xxx")


def test_commands_with_odd_characters(console: Console) -> None:
    for line in (
        "vm\0info",
        'vm start "',
        "vm start \u202egnp",
        "vm config tags \0 x",
        "vm start a\nb",
        "\\",
        "'",
        "\ud800",
    ):
        said = console.error(line)
        assert "Traceback" not in said and "internal" not in said, (line, said)


def envelope(**fields: object) -> bytes:
    """A request's envelope, by default a sound one."""
    sound: dict[str, object] = {
        "v": PROTOCOL_VERSION,
        "kind": "request",
        "id": os.urandom(8).hex(),
        "type": "vm.list.get",
    }
    sound |= {"to": "vm", "namespace": "minimega", "ttl_ms": 1000}
    return bytes(msgpack.packb(sound | fields))


SOUND_BODY = bytes(msgpack.packb({"type": "vm.list.get"}))
NO_ANSWER = [
    [],
    [b""],
    [b"", b""],
    [b"garbage"],
    [b"\xc1", SOUND_BODY],
    [msgpack.packb([1, 2, 3]), SOUND_BODY],
    [envelope(), SOUND_BODY, b"more"],
    [b"x" * 2_000_000, SOUND_BODY],
    [envelope(kind="nonsense"), SOUND_BODY],
    [envelope(kind="event"), SOUND_BODY],
    [envelope(id=5), SOUND_BODY],
]
FAILURES = [
    (envelope(ttl_ms=-5), SOUND_BODY),
    (envelope(to="nobody"), SOUND_BODY),
    (envelope(to="vm@elsewhere"), SOUND_BODY),
    (envelope(to="../vm"), SOUND_BODY),
    (envelope(type="vm.nonsense"), msgpack.packb({"type": "vm.nonsense"})),
    (envelope(), b"garbage"),
    (envelope(), b""),
    (envelope(), msgpack.packb({"type": "vm.list.get", "target": 5})),
    (envelope(), msgpack.packb({"type": "vm.launch", "kind": "container", "names": "x"})),
    (envelope(namespace="a/b"), SOUND_BODY),
    (envelope(to="broker"), msgpack.packb({"type": "broker.hello", "actor": "vm", "epoch": "x", "pid": -1})),
]


@pytest.fixture
def dealer(shared: Product) -> Iterator[zmq.Socket[bytes]]:
    """A foreign client on the bus, which afterwards must still be of use to others."""
    before = shared.pids()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.rcvtimeo = int(PATIENCE_S * 1000)
    dealer.connect(f"ipc://{shared.base / 'bus' / 'requests'}")
    yield dealer
    dealer.close()
    context.term()
    shared.everything_answers()
    assert shared.pids() == before, "a process fell"


def test_garbage_on_the_request_socket(dealer: zmq.Socket[bytes]) -> None:
    for frames in NO_ANSWER:
        dealer.send_multipart(frames or [b""])
    for head, body in FAILURES:
        dealer.send_multipart([head, body])
        wanted = msgpack.unpackb(head)["id"]
        while True:
            reply, content = dealer.recv_multipart()
            answer = msgpack.unpackb(reply)
            if answer["id"] == wanted:
                break
        assert answer["kind"] == "failure", (head, body)
        failure = msgpack.unpackb(content)
        assert one_sentence(failure["message"])
    head = envelope()
    dealer.send_multipart([head, SOUND_BODY])
    assert msgpack.unpackb(dealer.recv_multipart()[0])["kind"] == "reply"


def test_garbage_on_the_event_sockets(shared: Product, console: Console) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher, subscriber = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
    publisher.linger = subscriber.linger = 200
    publisher.rcvtimeo = subscriber.rcvtimeo = int(PATIENCE_S * 1000)
    publisher.connect(f"ipc://{shared.base / 'bus' / 'publish'}")
    subscriber.connect(f"ipc://{shared.base / 'bus' / 'events'}")
    publisher.recv()  # the broker's subscription
    for frames in ([b""], [b"vm/"], [b"\xff/", b"\xff", b"\xff"], [b"vm/x/", b"x" * 1_000_000, b""], [b"a"] * 50):
        publisher.send_multipart(frames)
    for message in (
        b"",
        b"\x07",
        b"\x01" + b"x" * 100_000,
        b"\x01\xff\xfe/",
        b"\x00never/",
        b"\x01sync//",
        b"\x01sync/",
    ):
        subscriber.send(message)
    subscriber.send(b"\x01sync/after/")
    while subscriber.recv_multipart()[0] != b"sync/after/":
        pass
    publisher.close()
    subscriber.close()
    context.term()
    console.ok("vm launch container x", "vm kill x")
