"""Whatever is killed while guests run programs and exchange files: each ran once in each guest, each file is whole."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.system.cc_guests import DONE, Guests, guests_on, states
from tests.system.product import PROCESSES, CommandError, Product, product_on, shell_init, until

GUESTS = int(os.environ.get("MINIBUS_CC_GUESTS", "100"))
FEW = 6
FILE_BYTES = 300_000
SAID_BYTES = 20_000
AGAIN = "while :; do minibus-agent -v=false -logfile /agent.log; sleep 0.1; done"
"""An agent that is killed is started again."""
PATIENCE_S = 120.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def product(base_dir: Path, agent_rootfs: Path) -> Iterator[Product]:
    """minibus of its own: it does not forget how often its processes fell."""
    with product_on(base_dir, agent_rootfs) as product:
        yield product


@pytest.fixture
def few(product: Product) -> Iterator[Guests]:
    """Some guests."""
    with guests_on(product) as guests:
        guests.console.ok(shell_init(AGAIN))
        guests.launch(f"few[1-{FEW}]", FEW)
        yield guests


def ran(guests: Guests, name: str) -> list[str]:
    """The lines that programs have left in a guest."""
    path = guests.inside(name, "/ran")
    return path.read_text().split() if path.exists() else []


class Ordeal:
    """A program, a file to the guests, and the same back, while something is killed at the worst moment."""

    def __init__(self, guests: Guests, name: str) -> None:
        self.guests = guests
        self.name = name
        self.content = os.urandom(FILE_BYTES)
        directory = guests.product.base / "files"
        directory.mkdir(exist_ok=True)
        (directory / name).write_bytes(self.content)
        self.programs = [self._program("first")]
        self.sent = guests.post(f"cc send {name}")
        self.fetched = guests.post(f"cc recv /tmp/miniccc/files/{name}")

    def _program(self, mark: str) -> int:
        script = f"echo {self.name}-{mark} >>/ran; sleep 0.3; head -c {SAID_BYTES} /dev/zero; echo {mark}"
        return self.guests.post(f'cc exec sh -c "{script}"')

    def reached(self, number: int) -> None:
        """Wait until some guests have done a command and others not, if they are not too quick."""

        def some() -> bool:
            with contextlib.suppress(OSError, CommandError):
                rows = self.guests.outcomes(number).values()
                return sum(row["state"] in DONE for row in rows) > len(rows) // 10
            self.guests.answers()
            return False

        until(some, f"command {number} to be under way", PATIENCE_S)

    def end(self) -> None:
        """Give one more program, and look at everything."""
        self.guests.answers()
        self.programs.append(self._program("last"))
        count = len(self.guests.uuids)
        for number in (*self.programs, self.sent, self.fetched):
            rows = self.guests.wait(number, count, PATIENCE_S)
            assert states(rows) == {("exited", "")} and len(rows) == count
        for name in self.guests.uuids:
            for number, mark in zip(self.programs, ("first", "last"), strict=True):
                assert self.guests.response(number, name).read_bytes() == bytes(SAID_BYTES) + f"{mark}\n".encode()
            assert self.guests.inside(name, f"/tmp/miniccc/files/{self.name}").read_bytes() == self.content
            path = f"/tmp/miniccc/files/{self.name}"
            assert self.guests.response(self.fetched, name, path).read_bytes() == self.content
            mine = [line for line in ran(self.guests, name) if line.startswith(f"{self.name}-")]
            assert mine == [f"{self.name}-first", f"{self.name}-last"], (name, mine)


def kill(name: str) -> Callable[[Product], None]:
    """One process, which is started again."""

    def now(product: Product) -> None:
        product.replaced(name, product.kill(name), 30.0)

    return now


def kill_node(product: Product) -> None:
    """All actors end with it."""
    product.kill("node")
    product.up()


def kill_all(product: Product) -> None:
    """Everything but the containers."""
    for pid in [product.pid(name) for name in PROCESSES]:
        os.kill(pid, signal.SIGKILL)
    product.up()


def test_the_server_is_killed_at_each_stage_with_many_guests(product: Product) -> None:
    with guests_on(product) as guests:
        guests.launch(f"many[1-{GUESTS}]", GUESTS)
        ordeal = Ordeal(guests, "server")
        for number in (ordeal.programs[0], ordeal.sent, ordeal.fetched):
            ordeal.reached(number)
            kill("cc")(product)
        ordeal.end()
        assert product.ps()["cc"]["restarts"] == 3
        ordeal = Ordeal(guests, "everything")
        ordeal.reached(ordeal.sent)
        kill_all(product)
        ordeal.end()


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(kill("broker"), id="broker"),
        pytest.param(kill("vm"), id="vm"),
        pytest.param(kill("cli"), id="cli"),
        pytest.param(kill("plumber"), id="plumber"),
        pytest.param(kill_node, id="node"),
    ],
)
def test_another_is_killed(few: Guests, victim: Callable[[Product], None]) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    for stage in range(3):
        ordeal = Ordeal(few, f"stage{stage}")
        if chance.random() < 0.7:
            ordeal.reached((ordeal.programs[0], ordeal.sent, ordeal.fetched)[stage])
        victim(few.product)
        ordeal.end()


def kill_agents(guests: Guests, names: Iterable[str]) -> None:
    """Their guests start others."""
    for name in names:
        for pid in guests.agents(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_agents_are_killed_while_a_program_runs(few: Guests) -> None:
    """It is not run again, and nobody pretends to know how it ended; what waits behind it is run."""
    number = few.post('cc exec sh -c "echo x >>/ran; sleep 60"')
    until(lambda: all(ran(few, name) == ["x"] for name in few.uuids), "the program to run")
    behind = few.post('cc exec sh -c "echo y >>/ran"')
    kill_agents(few, few.uuids)
    assert {row["state"] for row in few.wait(number, FEW).values()} == {"unknown"}
    assert states(few.wait(behind, FEW)) == {("exited", "")}
    assert all(ran(few, name) == ["x", "y"] for name in few.uuids)


def test_agents_are_killed_at_any_moment(few: Guests) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails
    numbers = []
    for turn in range(8):
        numbers.append(few.post(f'cc exec sh -c "echo {turn} >>/ran; usleep {chance.randrange(50_000)}"'))
        time.sleep(chance.uniform(0.0, 0.1))
        kill_agents(few, (name for name in few.uuids if chance.random() < 0.5))
    few.connected(FEW)
    for turn, number in enumerate(numbers):
        for name, row in few.wait(number, FEW).items():
            times = ran(few, name).count(str(turn))
            if row["state"] == "exited":
                assert times == 1, (name, turn)
            else:
                assert row["state"] == "unknown" and times <= 1, (name, turn, row)
    assert states(few.run("cc exec hostname")) == {("exited", "")}


def test_a_guest_is_frozen_for_a_while(few: Guests) -> None:
    ordeal = Ordeal(few, "frozen")
    frozen = [name for number, name in enumerate(sorted(few.uuids)) if number % 2]
    few.console.ok(f"vm stop {','.join(frozen)}")
    rows = few.wait(ordeal.fetched, FEW - len(frozen))
    assert all(row["state"] == "exited" for name, row in rows.items() if name not in frozen)
    few.console.ok("vm start all")
    ordeal.end()


class Posting(threading.Thread):
    """One command after the other, on a connection of its own; each leaves its number in the guests."""

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.numbers: list[str] = []
        """Of those that were answered."""
        self.ids: list[int] = []
        self.ending = threading.Event()
        self._product = product

    def run(self) -> None:
        """Until it is told to end."""
        with self._product.console() as console:
            for number in itertools.count():
                if self.ending.is_set():
                    return
                (response,) = console.command(f'cc exec sh -c "echo {number} >>/ran"')
                if not response["Error"]:
                    self.numbers.append(str(number))
                    self.ids.append(response["Data"])
                time.sleep(0.01)


def test_commands_given_during_crashes_run_once_in_their_order(few: Guests) -> None:
    posting = Posting(few.product)
    posting.start()
    try:
        for victim in ("cc", "broker", "cc", "cc"):
            time.sleep(0.7)
            kill(victim)(few.product)
        time.sleep(0.5)
    finally:
        posting.ending.set()
        posting.join()
    assert len(set(posting.ids)) == len(posting.ids) > 20
    few.wait(posting.ids[-1], FEW)
    for name in few.uuids:
        lines = ran(few, name)
        assert len(set(lines)) == len(lines), name
        assert [line for line in lines if line in posting.numbers] == posting.numbers, name
