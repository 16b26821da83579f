"""An agent that dies at any moment, or cannot write, or is not alone: what its successor knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.agent.line.wire import decode, decode_frames, encode
from tests.integration.agent_server import Guest, Peer, guest_in


@pytest.fixture
def guest(base_dir: Path) -> Iterator[Guest]:
    """A guest whose agent is not started yet."""
    with guest_in(base_dir) as guest:
        yield guest


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
    peer.run(1, "sh", "-c", f"echo $$ >>{base_dir}/ran; exec sleep 1000")
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
