"""Every process started by itself, confined as its unit does it, in any order and without a node."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.nuke import leftovers
from tests.system import sandboxed
from tests.system.product import ACTORS, CommandError, Done, Product, run, shell_init, until
from tools import units

ROOT = Path(__file__).parents[2]
GROUP = 54_321
NAMES = ("warden", "broker", *ACTORS)
KILLED = ("warden", "container", "vm", "broker", "namespace", "network", "cli")


class ByHand(Product):
    """Each process is a child of the test."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        super().__init__(base, rootfs)
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.settings: dict[str, str] = {}
        self.confined = True
        self._modules = {spec.name: units.module(spec) for spec in units.processes()}

    def start(self, name: str) -> None:
        """Start one process and do not wait for it; what it says goes to `<name>.err` in the base directory."""
        words = [sys.executable, "-m", self._modules[name], "--base", str(self.base)]
        with (self.base / f"{name}.err").open("ab") as stderr:
            argv = sandboxed.command(str(self.base), name, words) if self.confined else words
            environment = {**os.environ, "MINIBUS_GROUP": str(GROUP), **self.settings}
            self.started[name] = subprocess.Popen(
                argv, stderr=stderr, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
            )

    def all_serve(self) -> None:
        """Wait until every process is on the bus and the way of a command is whole."""
        until(self._serve, "all to serve")

    def _serve(self) -> bool:
        done = self.minibus("ps", "--json")
        if done.status or {'"state": "starting"' in done.out} != {False}:
            return False
        if sorted(self.ps()) != sorted(NAMES):
            return False
        try:
            with self.console() as console:
                console.ok("vm config", "host", "vm info")
        except (OSError, CommandError):
            return False
        return True

    def end_all(self) -> None:
        """SIGTERM to all; whoever does not end by itself is killed and fails the test."""
        for process in self.started.values():
            process.terminate()
        late = []
        for name, process in self.started.items():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                late.append(name)
                process.kill()
                process.wait()
        assert late == []


@pytest.fixture
def by_hand(base_dir: Path, agent_rootfs: Path) -> Iterator[ByHand]:
    """Nothing runs yet; nothing is left afterwards."""
    hand = ByHand(base_dir, agent_rootfs)
    try:
        yield hand
    finally:
        left = leftovers.find(base_dir, hand.tag)
        for process in hand.started.values():
            process.kill()
            process.wait()
        run("nuke", "--yes", "--base", base_dir)
    assert left == []


@pytest.mark.parametrize(("seed", "confined"), [(3, True), (8, False)])
def test_all_comes_together_in_any_order_and_after_deaths(by_hand: ByHand, seed: int, confined: bool) -> None:
    by_hand.confined = confined
    order = random.Random(seed).sample(NAMES, len(NAMES))
    for name in order:
        by_hand.start(name)
    by_hand.all_serve()
    listed = by_hand.ps()
    assert {name: row["pid"] for name, row in listed.items()} == {name: by_hand.pid(name) for name in NAMES}
    if confined:
        _is_confined(by_hand.pid("scheduler"))
    with by_hand.configured() as console:
        console.ok(
            "vm config net LAN",
            shell_init("minibus-agent -v=false -logfile /l & while read line; do echo got $line; done"),
            "vm launch container web[1-2]",
            "vm start all",
        )
        until(lambda: set(console.states().values()) == {"RUNNING"}, "running containers")
    until(lambda: len(by_hand.guest_pids()) == 4, "a shell and an agent in each")
    guests = by_hand.guest_pids()
    assert _typed(by_hand, "one") == "got one"
    assert {(by_hand.base / name).stat().st_gid for name in (".", "bus", "bus/requests", "minimega")} == {GROUP}
    with by_hand.console() as console:
        console.ok("cc exec hostname", "cc wait 1 30s")
        assert [row["stdout"] for row in console.rows("cc outcomes 1")] == ["5", "5"]  # bytes
        assert console.ok("shell echo through") == "through\n"
        (by_hand.base / "files" / "image").write_text("x")
        assert [row["name"] for row in console.rows("file list")].count("image") == 1

    for name in random.Random(seed).sample(KILLED, len(KILLED)):
        by_hand.kill(name)
        by_hand.started[name].wait(10)
        by_hand.start(name)
        until(lambda: _holders(by_hand) == ["warden", "container"], "both to hold the consoles again")
    by_hand.all_serve()
    assert by_hand.guest_pids() == guests
    assert _typed(by_hand, "two") == "got two"
    with by_hand.console() as console:
        assert [row["vlan"] for row in console.rows("vm info")] == ["[LAN (101)]"] * 2
        console.ok("vm net connect web1 0 DMZ", "vm net connect web1 0 LAN", "tap create LAN")

    said = by_hand.minibus("down").sentence()
    assert said.startswith(f"minibus: there is no node on {by_hand.base}; end as you have started them: broker (pid")
    assert "there is no node" in by_hand.minibus("restart", "vm").sentence()
    with by_hand.console() as console:
        console.ok("vm kill all", "vm flush", "clear tap")
    by_hand.end_all()
    assert [process.returncode for process in by_hand.started.values()] == [0] * len(NAMES)


def _holders(by_hand: ByHand) -> list[str]:
    """Who keeps the consoles of both guests open; if nobody did, their shells would end."""
    found = []
    for name in ("warden", "container"):
        with contextlib.suppress(FileNotFoundError):  # it has not taken its lock yet, or a descriptor was closed
            links = [str(fd.readlink()) for fd in Path(f"/proc/{by_hand.pid(name)}/fd").iterdir()]
            found += [name] if links.count("/dev/pts/ptmx") + links.count("/dev/ptmx") >= 2 else []
    return found


def _is_confined(pid: int) -> None:
    """Otherwise the test would show nothing about the units."""
    status = Path(f"/proc/{pid}/status").read_text()
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"/proc/{pid}/root/etc/minibus-was-here").touch()


def _typed(by_hand: ByHand, text: str) -> str:
    """What a guest answers on its console."""
    done = subprocess.run(
        [Path(sys.executable).with_name("minibus"), "console", "--base", by_hand.base, "--new", "web1"],
        input=f"{text}\n".encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.stdout.decode().splitlines()[-1] if done.stdout else str(done)


def test_those_that_listen_on_tcp(by_hand: ByHand) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    by_hand.settings = {"MINIBUS_METRICS": "127.0.0.1:0", "MINIBUS_LISTEN": f"tcp://127.0.0.1:{port}"}
    names = ["broker", "gateway", "metrics"]
    for name in names:
        by_hand.start(name)

    def serve() -> bool:
        done = by_hand.minibus("ps", "--json")
        rows = {row["actor"]: row["state"] for row in json.loads(done.out)} if not done.status else {}
        return rows == dict.fromkeys(names, "running")

    until(serve, "broker, gateway and metrics")
    where = (by_hand.base / "run" / "metrics").read_text().strip()
    with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
        assert b"minibus_up" in answer.read()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as greeting:
        assert greeting.recv(1) == b"\xff"  # of ZMTP
    by_hand.end_all()


def test_what_ps_says_without_a_broker(by_hand: ByHand) -> None:
    by_hand.start("scheduler")
    until(lambda: by_hand.pid("scheduler") != 0, "the scheduler")
    done = by_hand.minibus("ps")
    assert done.status == 0
    assert "scheduler" in done.out and "no broker" in done.out
    os.kill(by_hand.pid("scheduler"), signal.SIGTERM)
    assert by_hand.started["scheduler"].wait(10) == 0
    assert by_hand.minibus("ps") == Done(
        1, "", f"minibus: minibus is not running on {by_hand.base}: start it with `minibus up --base {by_hand.base}`\n"
    )
