"""Processes of minibus killed at chosen moments: during a launch, between a request and its repeat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bus.client import connect
from bus.errors import BusError
from bus.messages.base import Message, Request
from bus.messages.namespace import QueueVms
from bus.messages.vm import GuestKind, StopVms
from tests.system.patience import FACTOR
from tests.system.product import Console, Product, product_on, shell_init, until

BACK_S = 5.0 * FACTOR


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """minibus without guests."""
    with product_on(base_dir, rootfs) as product:
        yield product


@pytest.mark.parametrize(
    ("process", "built"),
    [
        ("vm", 0),
        ("vm", 50),
        ("container", 1),
        ("container", 50),
        ("warden", 1),
        ("warden", 50),
        ("scheduler", 20),
        ("namespace", 20),
        ("broker", 20),
        ("cli", 20),
    ],
)
def test_killed_while_a_hundred_are_launched(product: Product, process: str, built: int) -> None:
    with product.configured() as console:
        console.ok(shell_init("echo yes >/started; sleep 1000"))
        console.send("vm launch container m[1-100]")
        until(lambda: len(product.guest_pids()) >= built, "the launch to be under way")
        old, killed_s = product.kill(process), time.monotonic()
        unhappy = "the connection was closed"
        with contextlib.suppress(ConnectionError):
            (response,) = console.receive()
            unhappy = response["Error"]
        # The news of what died with a process comes by its successor, which the node lets wait for longer than this.
        was_over = time.monotonic() - killed_s < 0.1
    product.replaced(process, old, BACK_S)
    product.everything_answers(BACK_S)
    with product.console() as console:
        until(lambda: no_launch_goes_on(console), "the launch to end")
        rows = console.rows()
        assert {row["state"] for row in rows} <= {"BUILDING", "ERROR"}
        assert len(rows) == 100 or unhappy, "an incomplete launch was called a success"
        failed = [row for row in rows if row["state"] == "ERROR"]
        assert all(json.loads(row["tags"])["error"] for row in failed)
        assert not failed or unhappy or was_over, "a failed launch was called a success"
        assert not [vm_id for vm_id in product.directories() if (product.inside(vm_id) / "started").exists()]
        console.ok("vm start all")
        assert all(state != "BUILDING" for state in console.states().values())
        console.ok("vm kill all", "vm flush")
        assert console.rows() == []
    assert product.guests_left() == []
    assert product.directories() == []


def test_the_cloner_is_killed_during_a_launch(product: Product) -> None:
    """The process that makes containers for the warden: what it was about to make fails, the rest goes on."""
    with product.configured() as console:
        console.ok("vm launch container first")
        built = product.guest_pids()
        (cloner,) = [child for child in psutil.Process(product.pid("warden")).children() if child.pid not in built]
        console.send("vm launch container m[1-60]")
        until(lambda: len(product.guest_pids()) > 5, "the launch to be under way")
        cloner.kill()
        (response,) = console.receive()
        why = "start container: clone: the process that clones containers has died"
        assert {line.partition(": ")[2] for line in response["Error"].splitlines()} <= {why}
        states = list(console.states().values())
        assert states.count("ERROR") == len(response["Error"].splitlines())
        assert states.count("BUILDING") + states.count("ERROR") == 61
        console.ok("vm launch container another", "vm start another")
        assert product.ps()["warden"]["restarts"] == 0


def no_launch_goes_on(console: Console) -> bool:
    """Whether two looks show the same VMs, none half made."""
    first = console.states()
    with contextlib.suppress(Exception):
        console.ok("vm start nosuch")
    return first == console.states() and all(row["pid"] != "0" for row in console.rows() if row["state"] == "BUILDING")


def test_what_was_acknowledged_is_kept(product: Product) -> None:
    with product.configured() as console:
        console.ok("vm launch container a")
        killed = {"vm": product.kill("vm"), "container": product.kill("container")}
        for name, pid in killed.items():
            product.replaced(name, pid, BACK_S)
        product.everything_answers(BACK_S)
        assert console.states() == {"a": "BUILDING"}
        console.ok("vm tag a colour blue")
        product.replaced("vm", product.kill("vm"), BACK_S)
        product.everything_answers(BACK_S)
        assert json.loads(console.vm("a")["tags"]) == {"colour": "blue"}
        console.ok("vm config memory 48", "vm config save mine", "clear vm config")
        product.replaced("namespace", product.kill("namespace"), BACK_S)
        product.everything_answers(BACK_S)
        assert console.ok("vm config memory") == "2048"
        console.ok("vm config restore mine")
        assert console.ok("vm config memory") == "48"
        console.ok("vm start a")
        product.replaced("vm", product.kill("vm"), BACK_S)
        product.everything_answers(BACK_S)
        assert console.states() == {"a": "RUNNING"}


async def ask_until_answered(base: Path, to: str, request: Request[Message], msg_id: str) -> Message:
    """Ask, with the same id every time, until somebody answers."""
    while True:
        with contextlib.suppress(BusError):
            async with connect(base) as port:
                return await port.ask(to, request, timeout_s=10.0, msg_id=msg_id)
        await asyncio.sleep(0.05)


async def test_a_repeated_request_gets_the_same_answer(product: Product) -> None:
    with product.configured() as console:
        console.ok("vm launch container a", "vm start a")
        requests = {"vm": StopVms(target="a"), "namespace": QueueVms(kind=GuestKind.CONTAINER, names="1")}
        for owner, request in requests.items():
            first = await ask_until_answered(product.base, owner, request, f"drill-{owner}")
            for kill in (False, True):
                if kill:
                    product.kill(owner)
                assert await ask_until_answered(product.base, owner, request, f"drill-{owner}") == first
        assert sorted(console.states().items()) == [("a", "PAUSED"), ("vm-0", "BUILDING")]
