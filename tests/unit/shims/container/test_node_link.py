"""The warden's end of the node's control lane."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from bus.logs.log_format import Line
from bus.logs.log_settings import LogSettings
from bus.logs.logs import Log, Outlet
from shims.container.loop import Loop
from shims.container.node_link import NodeLink


class Heard:
    """What the node has asked for."""

    def __init__(self) -> None:
        self.reapings: list[tuple[int, int]] = []
        self.stops = 0

    def reaped(self, pid: int, status: int) -> None:
        """Note it."""
        self.reapings.append((pid, status))

    def stop(self) -> None:
        """Note it."""
        self.stops += 1


@pytest.fixture
def ends() -> Iterator[tuple[Loop, NodeLink, socket.socket, Heard]]:
    """A loop, a link on it, the node's end, and what was heard."""
    loop, heard = Loop(), Heard()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(5)
    link = NodeLink(ours, loop, heard, inbox=lambda: 3, log=Log("warden", Outlet(fd=-1)))
    yield loop, link, theirs, heard
    link.close()
    theirs.close()
    loop.close()


def test_conversation(ends: tuple[Loop, NodeLink, socket.socket, Heard]) -> None:
    loop, link, node, heard = ends
    link.ready()
    assert json.loads(node.recv(1000)) == {"type": "ready"}
    node.send(b'{"type":"ping","n":7}')
    node.send(b'{"type":"reaped","pid":12,"status":9}')
    node.send(b'{"type":"stop"}')
    loop.run_once()
    assert json.loads(node.recv(1000)) == {"type": "pong", "n": 7, "inbox": 3}
    assert (heard.reapings, heard.stops) == ([(12, 9)], 1)
    link.staying()
    assert json.loads(node.recv(1000)) == {"type": "staying"}


def test_what_the_node_says_about_logs_holds(ends: tuple[Loop, NodeLink, socket.socket, Heard]) -> None:
    loop, link, node, _ = ends
    node.send(b'{"type":"logging","settings":{"level":"debug","filters":["x"],"ring":5}}')
    node.send(b'{"type":"logging","settings":{"level":"loud"}}')
    node.send(b'{"type":"logging","settings":7}')
    loop.run_once()
    assert link._log.outlet.settings == LogSettings(level="debug", filters=("x",), ring=5)
    link.record(Line(1.5, "info", "warden", "a.py:1: x"))
    said = json.loads(node.recv(1000))
    assert said == {"type": "record", "time_s": 1.5, "level": "info", "actor": "warden", "text": "a.py:1: x"}


@pytest.mark.parametrize(
    "packet", [b"not json", b"[1]", b"{}", b'{"type":"unknown"}', b'{"type":"reaped","pid":"x","status":1}', b"\xff"]
)
def test_rubbish_is_passed_over(ends: tuple[Loop, NodeLink, socket.socket, Heard], packet: bytes) -> None:
    loop, link, node, heard = ends
    node.send(packet)
    loop.run_once()
    assert link.is_up
    assert (heard.reapings, heard.stops) == ([], 0)


def test_the_end_of_the_node_means_stop(ends: tuple[Loop, NodeLink, socket.socket, Heard]) -> None:
    loop, link, node, heard = ends
    node.close()
    loop.run_once()
    assert heard.stops == 1
    assert not link.is_up
    link.ready()  # nobody hears, nobody minds


def test_without_a_node() -> None:
    link = NodeLink(None, Loop(), Heard(), inbox=lambda: 0, log=Log("warden", Outlet(fd=-1)))
    link.ready()
    link.close()
    assert not link.is_up
