"""The command server as a process, on a real broker, with the real owner of the configurations behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.patience import FACTOR

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0 * FACTOR


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@contextmanager
def process(*words: str, base: Path, **more: Any) -> Iterator[subprocess.Popen[str]]:
    arguments = (sys.executable, "-m", *words, "--base", str(base))
    with subprocess.Popen(arguments, cwd=ROOT, text=True, **more) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(PATIENCE_S)


def listens(path: Path) -> bool:
    """Whether somebody takes connections there; the file alone says less, for it comes first."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Host:
    """A base directory with a broker, a command server, and the namespace actor."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.base = base
        self.stack = stack
        for directory in ("run", "state", "bus", "log", "files"):
            (base / directory).mkdir(mode=0o700)
        self.broker = self.start("bus.broker")
        wait_for((base / "bus" / "requests").is_socket, "the broker")
        self.namespace = self.start("actors.namespace")
        self.cli = self.start("cli.server")
        wait_for(lambda: listens(base / "minimega"), "the command server")

    def start(self, module: str, **more: Any) -> subprocess.Popen[str]:
        return self.stack.enter_context(process(module, base=self.base, stderr=subprocess.DEVNULL, **more))

    def minibus(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            (sys.executable, "-m", "cli.main", "--base", str(self.base), *arguments),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def text(self, line: str) -> str:
        status, out, err = self.minibus("exec", f".annotate false {line}")
        assert (status, err) == (0, "")
        return out.rstrip("\n")


@pytest.fixture
def host(base_dir: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(base_dir, stack)


def test_commands_reach_their_owner(host: Host) -> None:
    assert host.minibus("exec", "vm config filesystem /nowhere") == (0, "", "")
    assert host.text("vm config filesystem") == "/nowhere"
    assert host.text("namespace other vm config filesystem") == ""
    for line in (
        "vm config tags k 'a b'",
        "vm config volume /data src",
        "vm config init /sbin/init -x",
        "vm config snap f",
    ):
        assert host.minibus("exec", line) == (0, "", "")
    assert host.text("vm config tags") == "k -> a b"
    assert host.text("vm config tag k") == "a b"
    assert host.text("vm config volume") == f"/data -> {host.base}/files/src"
    assert host.text("vm config init") == "[/sbin/init -x]"
    assert host.text("vm config snapshot") == "false"
    assert "Memory:           2048\n" in host.text("vm config")
    assert host.minibus("exec", "clear vm config tags k") == (0, "", "")
    assert host.text("vm config tags") == ""


def test_saved_configurations(host: Host) -> None:
    assert host.minibus("exec", "vm config restore")[2].endswith("no vm configs saved\n")
    for line in ("vm config memory 64", "vm config save small", "clear vm config"):
        assert host.minibus("exec", line) == (0, "", "")
    assert host.text("vm config memory") == "2048"
    assert host.text("vm config restore") == "small"
    assert host.minibus("exec", "vm config restore small") == (0, "", "")
    assert host.text("vm config memory") == "64"
    assert host.minibus("exec", "vm config restore big")[0] == 1


def test_queueing(host: Host) -> None:
    assert host.text("ns queueing") == "false"
    assert host.minibus("exec", "ns queueing true") == (0, "", "")
    assert host.text("ns queueing") == "true"
    assert host.text("namespace other ns queueing") == "false"
    assert host.minibus("exec", "ns flush") == (0, "", "")
    assert host.text("ns queue") == ""


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("vm config memory lots", 'parsing "lots": invalid syntax'),
        ("vm config vcpus 0", "vcpus must be between 1 and"),
        ("vm config uuid xyz", "`xyz` is not a UUID"),
        ("vm info", "no actor `vm`"),  # there is no such actor here
    ],
)
def test_what_the_owner_refuses_is_one_line(host: Host, line: str, part: str) -> None:
    status, out, err = host.minibus("exec", line)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and part in err and "Traceback" not in err


def test_a_command_waits_for_an_actor_that_restarts(host: Host) -> None:
    assert host.minibus("exec", "vm config memory 64") == (0, "", "")
    host.namespace.kill()
    host.namespace.wait()
    with subprocess.Popen(
        (sys.executable, "-m", "cli.main", "exec", "--base", str(host.base), ".annotate false vm config memory"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        host.start("actors.namespace")
        out, _ = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, out) == (0, "64\n")


def test_the_socket_is_private_and_goes_with_its_server(host: Host) -> None:
    path = host.base / "minimega"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    host.cli.terminate()
    assert host.cli.wait(PATIENCE_S) == 0
    assert not path.exists()


def test_a_crashed_server_s_socket_is_replaced(host: Host) -> None:
    host.cli.kill()
    host.cli.wait()
    assert (host.base / "minimega").exists()
    host.start("cli.server")
    wait_for(lambda: host.minibus("exec", "version")[0] == 0, "the new server")


def test_a_second_server_is_refused(host: Host) -> None:
    with process("cli.server", base=host.base, stderr=subprocess.PIPE) as second:
        _, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1
    assert err.startswith("minibus cli: ") and err.count("\n") == 1
    assert host.minibus("exec", "version")[0] == 0


def test_a_client_that_only_listens_does_not_keep_the_server(host: Host) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.base / "minimega"))
        host.cli.terminate()
        assert host.cli.wait(PATIENCE_S) == 0
        assert client.recv(1) == b""


# ---------------------------------------------------------------- tap


@contextmanager
def tapping(host: Host, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "cli.main", "tap", "--base", str(host.base), *arguments)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as tap:
        try:
            yield tap
        finally:
            if tap.poll() is None:
                tap.kill()


def test_tap_shows_events_and_ends_quietly_at_ctrl_c(host: Host) -> None:
    with tapping(host, "stats", "--json") as tap:
        assert tap.stdout is not None
        event = json.loads(tap.stdout.readline())
        assert set(event) == {"topic", "epoch", "seq", "topic_seq", "time", "publisher", "body"}
        assert event["topic"].startswith("stats/")
        assert event["body"]["type"] == "control.stats"
        tap.send_signal(signal.SIGINT)
        _, err = tap.communicate(timeout=PATIENCE_S)
    assert (tap.returncode, err) == (130, "")


def test_tap_ends_quietly_when_nobody_reads(host: Host) -> None:
    with tapping(host) as tap:
        assert tap.stdout is not None and tap.stderr is not None
        assert " stats/" in tap.stdout.readline()
        tap.stdout.close()
        assert tap.wait(PATIENCE_S) == 141
        assert tap.stderr.read() == ""


def test_ctrl_c_ends_a_waiting_command_quietly(host: Host) -> None:
    host.namespace.send_signal(signal.SIGSTOP)
    command = (sys.executable, "-m", "cli.main", "exec", "--base", str(host.base), "vm config")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        connected = f"{host.base}/minimega"
        wait_for(lambda: _is_reading(waiting.pid), f"a client of {connected}")
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=PATIENCE_S)
    host.namespace.send_signal(signal.SIGCONT)
    assert (waiting.returncode, err) == (130, "")


def _is_reading(pid: int) -> bool:
    """Whether a process waits in recv: it has sent its request."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] == "45"  # recvfrom(2) on x86-64
