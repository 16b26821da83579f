"""The agent and a line that breaks: nothing runs twice, nothing is lost, whoever dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.agent.line.wire import PREAMBLE, encode
from tests.integration.agent_server import WINDOW, Guest, guest_in, until


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
    first.until(lambda: sum(m["type"] == "data" for m in first.heard) >= 3, "three frames")
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
    first.until(lambda: first.is_over, "the agent to hang up")
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
    peer.run(1, "sh", "-c", "echo $$; sleep 2", timeout_s=5)
    pid = int(peer.hear("data", serial=1, stream="stdout")["data"])
    for number in (agent.pid, pid):
        os.kill(number, signal.SIGSTOP)
    time.sleep(4)
    for number in (pid, agent.pid):
        os.kill(number, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while not any(message["type"] == "done" for message in peer.heard):
        assert time.monotonic() < deadline
        peer.read()
        peer.say(type="ping", n=1)
    assert peer.hear("done", serial=1)["outcome"] == "exited"


def test_window_is_that_of_the_server(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin(window=1 << 16)
    peer.run(1, "sh", "-c", "head -c 1000000 /dev/zero")
    peer.until(lambda: peer.data_bytes() == 1 << 16, "it")
    assert WINDOW > 1 << 16
    assert len(peer.result(1)[2]) == 1000000
