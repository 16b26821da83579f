"""The agent and a line that breaks: nothing runs twice, nothing is lost, whoever dies."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.agent.wire import FLUSH, PREAMBLE, decode, decode_frames, encode
from tests.integration.agent_server import WINDOW, Guest, Peer, guest_in, until


@pytest.fixture
def guest(base_dir: Path) -> Iterator[Guest]:
    """A guest whose agent is not started yet."""
    with guest_in(base_dir) as guest:
        yield guest


# --- the server goes and comes back


def test_command_runs_on_while_the_server_is_away(guest: Guest, base_dir: Path) -> None:
    guest.start()
    first = guest.server.begin()
    first.run(1, "sh", "-c", f"echo ran >>{base_dir}/ran; while [ ! -e {base_dir}/go ]; do sleep 0.02; done; echo end")
    first.run(2, "sh", "-c", "echo second")
    first.hear("started", serial=1)
    first.close()
    second = guest.server.accept()
    (one, two) = second.begin()
    assert (one["serial"], one["state"], one["stdout"]) == (1, "running", 0)
    assert (two["serial"], two["state"]) == (2, "waiting")
    second.run(1, "sh", "-c", f"echo ran >>{base_dir}/ran")  # a server that has forgotten: it must not run again
    (base_dir / "go").touch()
    for stream in ("stdout", "stderr"):
        second.say(type="want", serial=1, stream=stream, offset=0)
    assert second.result(1) == ("exited", 0, b"end\n", b"")
    assert second.result(2) == ("exited", 0, b"second\n", b"")
    assert (base_dir / "ran").read_text() == "ran\n"


def test_end_is_told_again_until_it_is_confirmed(guest: Guest) -> None:
    guest.start()
    first = guest.server.begin()
    first.run(1, "echo", "x")
    done = first.hear("done", serial=1)
    first.close()
    second = guest.server.accept()
    (record,) = second.begin()
    assert record["state"] == "ended"
    assert {**record, "type": "done"} == {**done, "state": "ended"}
    second.say(type="want", serial=1, stream="stdout", offset=0)
    assert second.output(1) == b"x\n"  # nobody had acknowledged it
    second.say(type="confirm", serial=1)
    second.run(2, "true")
    second.result(2)
    second.close()
    assert guest.server.accept().begin() == []


def test_output_goes_on_where_it_broke(guest: Guest) -> None:
    guest.start()
    first = guest.server.begin()
    size = 2_000_000
    first.run(1, "sh", "-c", f"yes 0123456789 | head -c {size}")
    until(lambda: first.read() or sum(m["type"] == "data" for m in first.heard) >= 3, "three frames")
    have = b"".join(first.hear("data", serial=1, stream="stdout")["data"] for _ in range(3))
    first.say(type="ack", serial=1, stream="stdout", offset=len(have))
    time.sleep(0.1)
    first.close()
    second = guest.server.accept()
    (record,) = second.begin()
    assert record["stdout"] == len(have)
    second.say(type="want", serial=1, stream="stdout", offset=len(have))
    data = bytearray(have)
    while len(data) < size:
        message = second.hear("data", serial=1, stream="stdout")
        assert message["offset"] == len(data)
        data += message["data"]
        second.say(type="ack", serial=1, stream="stdout", offset=len(data))
    assert bytes(data) == (b"0123456789\n" * (size // 11 + 1))[:size]


def test_server_that_comes_late_and_goes_often(guest: Guest) -> None:
    guest.server.stop_listening()
    guest.start()
    time.sleep(0.3)
    guest.server.listen()
    for _ in range(5):
        guest.server.begin().close()
    peer = guest.server.begin()
    peer.run(1, "true")
    assert peer.result(1)[0] == "exited"


def test_other_ledger_ends_what_ran_for_the_old_one(guest: Guest) -> None:
    guest.start()
    first = guest.server.begin()
    first.run(1, "sleep", "1000")
    pid = first.hear("started", serial=1)["pid"]
    first.run(2, "true")
    first.close()
    second = guest.server.accept()
    hello = second.hear("hello")
    assert hello["ledger"] == "L"
    second.welcome(hello, "another")
    second.hear("synced")
    assert not [message for message in second.heard if message["type"] == "record"]
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the old command")
    second.run(1, "echo", "new")
    assert second.result(1)[2] == b"new\n"


def test_refused_agent_waits_as_it_is_told(guest: Guest) -> None:
    guest.start()
    first = guest.server.accept()
    hello = first.hear("hello")
    first.say_bytes(PREAMBLE + encode({"type": "refuse", "session": hello["session"], "reason": "no", "retry_s": 0.5}))
    until(lambda: first.read() or first.is_over, "the agent to hang up")
    before = time.monotonic()
    guest.server.begin()
    assert time.monotonic() - before > 0.3
    assert "the server refuses this agent: no" in guest.log.read_text()


@pytest.mark.parametrize(
    "garbage",
    [
        encode({"type": "ping"}),
        encode({"type": "run", "serial": "one", "argv": 3}),
        encode({"type": "run", "serial": 1, "argv": []}),
        encode({"type": "dial", "connection": 3, "host": "x", "port": 1}),
        encode({"type": "put", "serial": 1, "files": [7]}),
    ],
)
def test_messages_that_are_none_begin_a_new_session(guest: Guest, garbage: bytes) -> None:
    guest.start()
    guest.server.begin().say_bytes(garbage)
    peer = guest.server.begin()
    peer.run(2, "true")
    assert peer.result(2)[0] == "exited"


@pytest.mark.parametrize("garbage", [b"\xff" * 100_000, b"\0" * 100, os.urandom(200_000)])
def test_bytes_that_are_no_frames_are_skipped(guest: Guest, garbage: bytes) -> None:
    guest.start()
    peer = guest.server.accept()
    peer.say_bytes(garbage)
    peer.begin()
    peer.run(1, "true")
    assert peer.result(1)[0] == "exited"


def test_unknown_messages_are_ignored(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.say(type="later", serial=1)
    peer.say(type="later")
    peer.say(type="ping", n=7)
    assert peer.hear("pong")["n"] == 7


def test_sign_of_life_and_silence(guest: Guest) -> None:
    guest.start()
    first = guest.server.begin(keepalive_s=0.1)
    first.hear("ping")
    second = guest.server.accept()  # nobody answered
    second.begin(keepalive_s=0.1)
    for _ in range(8):
        second.say(type="pong", n=second.hear("ping")["n"])
    assert not second.is_over


def test_frozen_agent_goes_on_and_no_deadline_falls_meanwhile(guest: Guest) -> None:
    agent = guest.start()
    peer = guest.server.begin(keepalive_s=0.2)
    peer.run(1, "sh", "-c", "echo $$; sleep 4", timeout_s=6)
    pid = int(peer.hear("data", serial=1, stream="stdout")["data"])
    for number in (agent.pid, pid):
        os.kill(number, signal.SIGSTOP)
    time.sleep(8)
    for number in (pid, agent.pid):
        os.kill(number, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while not any(message["type"] == "done" for message in peer.heard):
        assert time.monotonic() < deadline
        peer.read()
        peer.say(type="ping", n=1)
    assert peer.hear("done", serial=1)["outcome"] == "exited"


# --- the agent dies


def start_again(guest: Guest, agent: subprocess.Popen[bytes]) -> Peer:
    """SIGKILL, and a new agent."""
    agent.kill()
    agent.wait()
    guest.processes.remove(agent)
    guest.start()
    return guest.server.accept()


def test_killed_while_it_runs_something(guest: Guest, base_dir: Path) -> None:
    agent = guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", f"echo $$ >>{base_dir}/ran; sleep 1000")
    pid = peer.hear("started", serial=1)["pid"]
    peer = start_again(guest, agent)
    (record,) = peer.begin()
    assert (record["serial"], record["state"], record["outcome"]) == (1, "ended", "unknown")
    peer.run(1, "sh", "-c", f"echo again >>{base_dir}/ran")
    peer.say(type="confirm", serial=1)
    peer.run(1, "sh", "-c", f"echo again >>{base_dir}/ran")
    assert peer.hear("done", serial=1)["error"] == "it has run here before"
    assert "again" not in (base_dir / "ran").read_text()
    os.kill(pid, signal.SIGKILL)


def test_killed_after_the_end_of_a_command(guest: Guest) -> None:
    agent = guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "echo x; exit 3")
    done = peer.hear("done", serial=1)
    peer = start_again(guest, agent)
    (record,) = peer.begin()
    assert (record["state"], record["outcome"], record["code"], record["stdout"]) == ("ended", "exited", 3, 2)
    assert record["time_s"] == done["time_s"]
    peer.say(type="want", serial=1, stream="stdout", offset=0)
    assert peer.hear("failed", serial=1, stream="stdout")["error"] == "this is no longer known"


def test_killed_at_any_moment_nothing_runs_twice(guest: Guest, base_dir: Path) -> None:
    """Each command leaves a line; what the agent says of it afterwards must fit."""
    agent = guest.start()
    peer = guest.server.begin()
    ran = base_dir / "ran"
    serial = 0
    for attempt in range(6):
        first = serial + 1
        for _ in range(40):
            serial += 1
            peer.run(serial, "sh", "-c", f"echo {serial} >>{ran}")
        time.sleep(0.01 + 0.02 * attempt)
        peer = start_again(guest, agent)
        agent = guest.processes[-1]
        records = {record["serial"]: record for record in peer.begin()}
        for again in range(first, serial + 1):
            if again not in records:
                peer.run(again, "sh", "-c", f"echo {again} >>{ran}")
                peer.hear("done", serial=again)
            peer.say(type="confirm", serial=again)
        lines = [int(line) for line in ran.read_text().split()]
        assert len(lines) == len(set(lines))
        missing = set(range(1, serial + 1)) - set(lines)
        assert all(records[lost]["outcome"] == "unknown" for lost in missing if lost in records)
        assert not [lost for lost in missing if lost >= first and lost not in records]


def test_torn_records_count_for_nothing(guest: Guest) -> None:
    agent = guest.start()
    peer = guest.server.begin()
    peer.run(1, "true")
    peer.hear("done", serial=1)
    agent.kill()
    agent.wait()
    guest.processes.remove(agent)
    records = guest.path / "records"
    with records.open("ab") as file:
        file.write(encode({"type": "begun", "serial": 2})[:-3])
    guest.start()
    peer = guest.server.accept()
    assert [record["serial"] for record in peer.begin()] == [1]
    peer.run(2, "echo", "two")
    assert peer.result(2)[2] == b"two\n"
    bodies = [decode(body) for body in decode_frames(records.read_bytes())]
    assert bodies[-1]["type"] in ("ended", "confirmed")


def test_directory_that_cannot_be_written(guest: Guest, base_dir: Path) -> None:
    guest.start("-path", "/proc/self/agent")
    hello = guest.server.accept().hear("hello")
    assert hello["durable"] is True  # it has found another place
    log = guest.log.read_text()
    assert "files go to /" in log
    assert "/proc/self/agent" in log


def test_full_disk_for_records(guest: Guest, base_dir: Path) -> None:
    """RLIMIT_FSIZE in the place of a full disk: a frame is cut off in its middle."""
    limited = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
from shims.agent.__main__ import main
sys.exit(main({["-uuid", "5d1b8a5a-54cb-4cd5-9d05-0c4e1f5d2f0a", "-path", str(guest.path)]!r} + sys.argv[1:]))
"""
    guest.program = [sys.executable, "-c", limited]
    guest.log.touch()
    agent = guest.start("-v=false")
    peer = guest.server.begin()
    for serial in range(1, 11):
        peer.run(serial, "true")
        peer.hear("done", serial=serial)
    peer.close()
    peer = guest.server.accept()
    hello = peer.hear("hello")
    assert hello["durable"] is False
    peer.welcome(hello)
    peer.hear("synced")
    assert sum(message["type"] == "record" for message in peer.heard) == 10
    content = (guest.path / "records").read_bytes()
    assert sum(8 + len(body) for body in decode_frames(content)) == len(content)  # no torn frame stays
    assert agent.poll() is None


def test_second_agent_refuses(guest: Guest) -> None:
    agent = guest.start()
    guest.server.begin()
    second = guest.local("-family", "unix", "-parent", str(guest.server.path))
    assert second.returncode == 1
    assert second.stderr.decode() == (
        f"minibus-agent: an agent serves this guest already: process {agent.pid}, in {guest.path}\n"
    )


def test_agent_of_another_guest_on_the_same_root_finds_a_place(guest: Guest) -> None:
    guest.start()
    guest.server.begin()
    other = "aaaaaaaa-54cb-4cd5-9d05-0c4e1f5d2f0a"
    guest.start("-uuid", other)
    assert guest.server.accept().hear("hello")["uuid"] == other
    assert (guest.path.parent / f"{guest.path.name}-{other}" / "records").exists()


def test_stale_files_of_a_killed_agent_do_no_harm(guest: Guest) -> None:
    agent = guest.start()
    guest.server.begin()
    assert (guest.path / "miniccc").is_socket()
    start_again(guest, agent).begin()
    assert (guest.path / "miniccc.pid").read_text() == str(guest.processes[-1].pid)


def test_clean_end(guest: Guest) -> None:
    agent = guest.start()
    guest.server.begin()
    agent.terminate()
    assert agent.wait(20) == 0
    assert not (guest.path / "miniccc.pid").exists()
    assert not (guest.path / "miniccc").exists()


# --- a serial line


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
            for fd in select.select([self.fd, self._theirs], [], [], 0.05)[0]:
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
        until(lambda: peer.read() or any(m["type"] == "data" for m in peer.heard), "data")
        # The server is restarted: in the middle of anything it says its preamble.
        peer.heard.clear()
        peer.say_bytes(encode({"type": "ping", "n": 1})[:7] + FLUSH + PREAMBLE)
        (record,) = peer.begin()
        assert record["serial"] == 1
        for stream in ("stdout", "stderr"):
            peer.say(type="want", serial=1, stream=stream, offset=0)
        assert peer.output(1) == bytes(100000) + b"end\n"
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


def test_window_is_that_of_the_server(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin(window=1 << 16)
    peer.run(1, "sh", "-c", "head -c 1000000 /dev/zero")
    until(lambda: peer.read() or sum(len(m["data"]) for m in peer.heard if m["type"] == "data") == 1 << 16, "it")
    assert WINDOW > 1 << 16
    assert len(peer.result(1)[2]) == 1000000
