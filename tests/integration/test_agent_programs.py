"""The agent runs programs for a server: once each, in turn, with all of their output."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agent_server import UUID, WINDOW, Guest, guest_in, until


@pytest.fixture
def guest(base_dir: Path) -> Iterator[Guest]:
    """A guest whose agent is not started yet."""
    with guest_in(base_dir) as guest:
        yield guest


def is_alive(pid: int) -> bool:
    """There is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_hello_says_who_it_is(guest: Guest) -> None:
    guest.start()
    hello = guest.server.accept().hear("hello")
    assert hello["uuid"] == UUID
    assert hello["hostname"] == os.uname().nodename
    assert hello["os"] == "linux"
    assert hello["ledger"] == ""
    assert hello["durable"] is True
    assert hello["versions"] == [1]


def test_output_and_exit_status(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert peer.hear("started", serial=1)["pid"] > 0
    assert peer.result(1) == ("exited", 7, b"out\n", b"err\n")


def test_much_output_comes_whole_and_no_faster_than_it_is_acknowledged(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "yes 0123456789 | head -c 3000000")
    peer.until(lambda: peer.data_bytes() == WINDOW, "a window")
    peer.hears_nothing("done", 0.2)
    assert peer.data_bytes() == WINDOW
    outcome, code, stdout, _ = peer.result(1)
    assert (outcome, code, len(stdout)) == ("exited", 0, 3000000)
    assert stdout == (b"0123456789\n" * 300000)[:3000000]


def test_last_line_is_never_lost(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    for serial in range(1, 51):
        peer.run(serial, "echo", f"x{serial}")
    for serial in range(1, 51):
        assert peer.result(serial)[2] == f"x{serial}\n".encode()


def test_signaled(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sleep", "1000")
    peer.hear("started", serial=1)
    peer.say(type="signal", serial=1, signal=signal.SIGTERM)
    assert peer.result(1)[:2] == ("signaled", signal.SIGTERM)


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["no-such-program"], "no-such-program: command not found in "),
        (["/no/such/program"], "/no/such/program: command not found"),
        (["/etc/passwd"], "/etc/passwd is not executable"),
        (["/etc"], "/etc is a directory"),
        (["x\0y"], "the name of a program cannot contain a NUL byte"),
        (["/bin/echo", "x\0y"], "a word of a command cannot contain a NUL byte"),
    ],
)
def test_what_cannot_be_started_says_why(guest: Guest, argv: list[str], error: str) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, *argv)
    done = peer.hear("done", serial=1)
    assert done["outcome"] == "failed"
    assert error in done["error"]
    peer.run(2, "true")
    assert peer.result(2)[:2] == ("exited", 0)


@pytest.mark.parametrize(
    ("content", "error"),
    [("plain text\n", "is neither a program"), ("#!/no/such/interpreter\n", "the program named in its first line")],
)
def test_scripts_that_are_none(guest: Guest, base_dir: Path, content: str, error: str) -> None:
    script = base_dir / "script"
    script.write_text(content)
    script.chmod(0o755)
    guest.start()
    peer = guest.server.begin()
    peer.run(1, str(script))
    assert error in peer.hear("done", serial=1)["error"]


def test_commands_take_turns_in_the_order_of_their_serials(guest: Guest, base_dir: Path) -> None:
    guest.start()
    peer = guest.server.begin()
    go = base_dir / "go"
    peer.run(1, "sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done")
    peer.run(3, "sh", "-c", f"echo three >>{go}")
    peer.run(2, "sh", "-c", f"echo two >>{go}")
    peer.hear("started", serial=1)
    peer.hears_nothing("started", 0.2)
    go.write_text("")
    for serial in (1, 2, 3):
        assert peer.result(serial)[:2] == ("exited", 0)
    assert go.read_text() == "two\nthree\n"


def test_waiting_command_is_taken_off(guest: Guest, base_dir: Path) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sleep", "1000")
    peer.hear("started", serial=1)
    for serial, number in ((2, 15), (3, 0)):
        peer.run(serial, "touch", str(base_dir / "never"))
        peer.say(type="signal", serial=serial, signal=number)
        assert peer.hear("done", serial=serial)["outcome"] == "killed"
    peer.say(type="signal", serial=1, signal=0)
    peer.say(type="signal", serial=1, signal=9)
    assert peer.result(1)[:2] == ("signaled", 9)
    peer.run(4, "true")
    assert peer.result(4)[0] == "exited"
    assert not (base_dir / "never").exists()


def test_timeout_ends_the_whole_group(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "sleep 1000 & echo $!; trap '' TERM; while :; do sleep 0.1; done", timeout_s=0.3)
    outcome, code, stdout, _ = peer.result(1)
    assert (outcome, code) == ("timeout", signal.SIGKILL)
    until(lambda: not is_alive(int(stdout)), "the end of a child")


def test_child_that_holds_the_output_does_not_block(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "echo first; (while :; do echo y; sleep 0.05; done) & echo $!")
    outcome, _, stdout, _ = peer.result(1)
    assert outcome == "exited"
    words = stdout.split()
    assert words[0] == b"first"
    pid = int(next(word for word in words if word.isdigit()))
    time.sleep(0.3)
    assert is_alive(pid)  # nor is it stopped or broken by what nobody reads
    os.kill(pid, signal.SIGKILL)


def test_background(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sleep", "1000", background=True)
    peer.run(2, "sh", "-c", "echo foreground")
    pid = peer.hear("started", serial=1)["pid"]
    process = peer.hear("process", pid=pid)
    assert process["argv"] == ["sleep", "1000"]
    assert process["gone"] is False
    assert peer.result(2)[2] == b"foreground\n"
    peer.say(type="killall", serial=3, name="leep 10")
    assert peer.hear("done", serial=3)["outcome"] == "exited"
    assert peer.hear("process", pid=pid)["gone"] is True
    assert peer.result(1)[:2] == ("signaled", signal.SIGKILL)
    peer.say(type="kill", serial=4, pid=pid)
    assert peer.hear("done", serial=4)["error"] == f"no background process has the number {pid}"


def test_kill_all_background(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    for serial in (1, 2, 3):
        peer.run(serial, "sleep", "1000", background=True)
        peer.hear("started", serial=serial)
    peer.say(type="kill", serial=4, pid=-1)
    for serial in (1, 2, 3):
        assert peer.result(serial)[:2] == ("signaled", signal.SIGKILL)


def test_bytes_that_are_no_text(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "printf", "%s", b"\xff\xfe name\nwith newline")
    assert peer.result(1)[2] == b"\xff\xfe name\nwith newline"
    peer.run(2, b"/no/\xff")
    peer.run(3, b"no\xff")
    for serial in (2, 3):
        end = peer.hear("done", serial=serial)
        assert end["outcome"] == "failed" and "no" in end["error"] and "\\xff" in end["error"]


def test_a_thousand_commands(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    for serial in range(1, 1001):
        peer.run(serial, "no-such-program")
    for serial in range(1, 1001):
        assert peer.hear("done", serial=serial)["outcome"] == "failed"
        peer.say(type="confirm", serial=serial)


def test_output_that_nobody_wants_holds_nothing_up(guest: Guest) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "sh", "-c", "head -c 5000000 /dev/zero")
    peer.hear("data", serial=1, stream="stdout")
    peer.say(type="failed", serial=1, stream="stdout", error="there is no room for it")
    done = peer.hear("done", serial=1)
    assert (done["outcome"], done["stdout"]) == ("exited", 5_000_000)


def test_pipe_with_a_name_that_none_has(guest: Guest, base_dir: Path) -> None:
    guest.start()
    peer = guest.server.begin()
    peer.run(1, "touch", str(base_dir / "never"), stdout="x" * 201)
    assert peer.hear("done", serial=1)["error"] == "the name of a pipe has at most 200 characters"
    assert not (base_dir / "never").exists()


def test_file_for_the_log_that_cannot_be_written(guest: Guest) -> None:
    guest.start("-logfile", "/no/such/directory/log")
    guest.server.begin()
    assert "the log goes to stderr: /no/such/directory/log" in guest.log.read_text()


def test_signals_of_a_terminal_end_nothing(guest: Guest) -> None:
    agent = guest.start()
    guest.server.begin()
    agent.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert agent.poll() is None
