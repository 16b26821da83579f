"""The agent on a serial line, which nobody opens or closes; a terminal stands in for it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.agent.line.wire import FLUSH, PREAMBLE, encode
from tests.integration.agent_server import Guest, Peer, guest_in


@pytest.fixture
def guest(base_dir: Path) -> Iterator[Guest]:
    """A guest whose agent is not started yet."""
    with guest_in(base_dir) as guest:
        yield guest


class SerialPeer(Peer):
    """The host's end of a terminal."""

    def __init__(self, fd: int) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self.fd = fd
        self._theirs = theirs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while not self._stop.is_set():
            for fd in select.select([self.fd, self._theirs.fileno()], [], [], 0.05)[0]:
                if fd == self.fd:
                    self._theirs.sendall(os.read(self.fd, 4096))
                else:
                    data = self._theirs.recv(65536)
                    while data:
                        data = data[os.write(self.fd, data) :]

    def end(self) -> None:
        """Stop carrying."""
        self._stop.set()
        self._thread.join()
        self._theirs.close()
        self.close()


def test_serial_line_survives_both_ends(guest: Guest) -> None:
    host, port = os.openpty()
    name = os.ttyname(port)
    tty.setraw(host)
    os.write(port, b"boot messages of a firmware\r\nlogin: ")
    peer = SerialPeer(host)
    try:
        agent = guest.start("-serial", name)
        peer.begin()
        peer.run(1, "sh", "-c", "head -c 100000 /dev/zero; sleep 0.3; echo end")
        peer.until(lambda: any(m["type"] == "data" for m in peer.heard), "data")
        # The server is restarted: in the middle of anything it says its preamble.
        peer.heard.clear()
        peer.say_bytes(encode({"type": "ping", "n": 1})[:7] + FLUSH + PREAMBLE)
        (record,) = peer.begin()
        assert record["serial"] == 1
        peer.heard.clear()  # what was still on its way in the old session
        for stream in ("stdout", "stderr"):
            peer.say(type="want", serial=1, stream=stream, offset=0)
        assert peer.output(1) == bytes(100000) + b"end\n"
        peer.hear("done", serial=1)
        peer.say(type="confirm", serial=1)
        # The agent is killed in the middle of anything and started anew.
        peer.run(2, "sh", "-c", "head -c 1000000 /dev/zero")
        peer.hear("data", serial=2, stream="stdout")
        agent.kill()
        agent.wait()
        guest.processes.remove(agent)
        peer.heard.clear()
        guest.start("-serial", name)
        records = peer.begin()
        assert [(record["serial"], record["outcome"]) for record in records] == [(2, "unknown")]
        peer.run(3, "true")
        assert peer.result(3)[0] == "exited"
    finally:
        peer.end()
        os.close(host)
        os.close(port)


def test_hello_is_said_again_on_a_serial_line_until_somebody_answers(guest: Guest) -> None:
    host, port = os.openpty()
    tty.setraw(host)
    peer = SerialPeer(host)
    try:
        guest.start("-serial", os.ttyname(port))
        first = peer.hear("hello")
        second = peer.hear("hello")
        assert second["session"] > first["session"]
        peer.welcome(first)  # too late: this one is void
        peer.hears_nothing("synced", 0.3)
        peer.welcome(second)
        peer.hear("synced")
        peer.hears_nothing("hello", 4)
    finally:
        peer.end()
        os.close(host)
        os.close(port)


def test_port_that_nobody_has_open_on_the_other_side_is_waited_for(guest: Guest) -> None:
    """A virtio port can always be read then, and gives nothing; as /dev/null does."""
    agent = guest.start("-serial", "/dev/null")
    time.sleep(2)
    assert agent.poll() is None
    times = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    assert (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK") < 1.0
    assert "is closed" not in guest.log.read_text()
