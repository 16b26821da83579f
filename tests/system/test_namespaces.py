"""Namespaces with running containers: made, seen by others, destroyed, and destroyed while processes of minibus die."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.client import connect
from bus.messages.namespace import GetNamespaces
from tests.system.product import Console, Product, product_on, until

NAMESPACES = ("red", "green")


def populate(console: Console, product: Product, *namespaces: str) -> None:
    """Some containers in each namespace: running, paused, built, ended."""
    for name in namespaces:
        console.ok(
            f"namespace {name}",
            f"vm config filesystem {product.rootfs}",
            "vm config memory 32",
            "vm config save small",
            "vm launch container a,b,c,d",
            "vm start a,b,d",
            "vm stop b",
            "vm kill d",
            "ns queueing true",
            "vm launch container queued",
        )
    console.ok("clear namespace")


def listed(console: Console) -> list[str]:
    """The names of all namespaces."""
    return [row["namespace"] for row in console.rows("namespace")]


def vms(console: Console, namespace: str) -> list[dict[str, str]]:
    """All that `vm info` says of a namespace but the time that passes."""
    return [row | {"uptime": ""} for row in console.rows(f"namespace {namespace} vm info")]


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """minibus with two busy namespaces."""
    with product_on(base_dir, rootfs) as product:
        with product.console() as console:
            populate(console, product, *NAMESPACES)
        yield product


def test_others_see_a_namespace_at_once(shared: Product, console: Console) -> None:
    with shared.console() as other:
        console.ok("namespace blue")
        assert listed(other) == ["blue", "minimega"]
        other.ok("namespace blue", "clear namespace blue")
        assert [(row["namespace"], row["active"]) for row in other.rows("namespace")] == [("minimega", "true")]
    # Who still acts in it acts in an empty one, which comes back with the first change.
    assert listed(console) == ["blue", "minimega"]
    assert console.rows() == []
    with shared.console() as other:
        assert listed(other) == ["minimega"]
        console.ok("ns queueing true")
        assert listed(other) == ["blue", "minimega"]
    console.ok("clear namespace blue")
    assert [(row["namespace"], row["active"]) for row in console.rows("namespace")] == [("minimega", "true")]
    assert console.error("clear namespace blue") == "unknown namespace: blue"


async def test_one_of_two_busy_namespaces(product: Product) -> None:
    async with connect(product.base) as port:
        events = await port.subscribe("namespace/")
        with product.console() as console:
            green = vms(console, "green")
            gone = {int(row["pid"]) for row in vms(console, "red")} - {0}
            assert len(gone) == 3 and gone <= product.guest_pids()
            console.ok("clear namespace red")
            assert (await events.next()).topic == "namespace/red/destroyed/"
            assert gone.isdisjoint(product.guest_pids())
            assert product.directories() == [row["id"] for row in green]
            assert listed(console) == ["green", "minimega"]
            assert vms(console, "green") == green
            assert "Names: queued" in console.ok("namespace green ns queue")
            console.ok("namespace red")
            assert (await events.next()).topic == "namespace/red/opened/"
            assert console.rows() == []
            assert console.ok("vm config memory", "ns queue", "ns queueing") == "false"
            assert console.error("vm config restore small") == "config small does not exist"
            assert console.error("vm config restore") == "no vm configs saved"
            console.ok("clear namespace all")
        assert product.guests_left() == []
        assert product.directories() == []
        known = await port.ask("namespace", GetNamespaces(), timeout_s=10)
        assert [info.name for info in known.namespaces] == ["minimega"]


def test_clear_all(product: Product) -> None:
    with product.console() as console:
        console.ok("namespace red", "clear all")
        assert console.ok("history") == "clear all"
        assert [(row["namespace"], row["active"]) for row in console.rows("namespace")] == [("minimega", "true")]
    assert product.guests_left() == []
    assert product.directories() == []


@pytest.mark.parametrize("process", ["namespace", "vm", "container", "broker", "warden", "cli"])
def test_a_process_dies_while_a_namespace_is_destroyed(product: Product, process: str) -> None:
    with product.console() as console, product.console() as asking:
        green = vms(console, "green")
        asking.send("clear namespace red")
        pid = product.kill(process, signal.SIGKILL)
        try:
            problems = [response["Error"] for response in asking.receive() if response["Error"]]
        except ConnectionError:
            assert process == "cli"
            problems = []
    product.replaced(process, pid)
    product.everything_answers()
    with product.console() as console:
        # Whatever came of it, asking once more brings it to its end.
        again = [response["Error"] for response in console.command("clear namespace red") if response["Error"]]
        assert again in ([], ["unknown namespace: red"]), (problems, again)
        assert listed(console) == ["green", "minimega"]
        red = [row["id"] for row in vms(console, "red")]
        assert red == []
        # A warden's death ends those of its containers that nobody had started, and no others.
        assert [row["id"] for row in vms(console, "green")] == [row["id"] for row in green]
        if process != "warden":
            assert vms(console, "green") == green
        running = {row["name"]: row["state"] for row in vms(console, "green")}
        assert (running["a"], running["b"]) == ("RUNNING", "PAUSED")
        console.ok("clear namespace red", "clear namespace all")
    until(lambda: product.guests_left() == [], "no guest to be left")
    assert product.directories() == []


def test_a_namespace_is_not_destroyed_while_it_launches(product: Product) -> None:
    with product.console() as console, product.console() as other:
        product.kill("scheduler", signal.SIGSTOP)
        console.ok("namespace red")
        console.send("vm launch")
        until(lambda: other.ok("namespace red ns queue") == "", "the launch to begin")
        try:
            assert other.error("clear namespace red") == "scheduler still running for namespace"
            assert other.error("clear namespace all") == "red: scheduler still running for namespace"
            assert listed(other) == ["minimega", "red"]
        finally:
            product.kill("scheduler", signal.SIGCONT)
        assert [response["Error"] for response in console.receive()] == [""]
        assert {row["name"] for row in vms(other, "red")} == {"a", "b", "c", "d", "queued"}
        other.ok("clear namespace red")
        assert listed(other) == ["minimega"]
