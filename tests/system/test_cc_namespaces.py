"""Commands of several namespaces, what stays of them, and how they are waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cc_guests import CONNECT_S, Guests, guests_on
from tests.system.product import Product, product_on, until


@pytest.fixture
def product(base_dir: Path, agent_rootfs: Path) -> Iterator[Product]:
    """Nothing runs on it yet."""
    with product_on(base_dir, agent_rootfs) as product:
        yield product


def answers(guests: Guests, line: str = "cc responses all raw") -> list[str]:
    """The words of all responses."""
    return guests.console.ok(line).split()


def asides(directory: Path) -> list[Path]:
    """Responses of commands that are no more."""
    return sorted(directory.glob("miniccc_responses.*"))


def test_what_a_namespace_has_collected_stays_and_is_never_mixed(product: Product) -> None:
    with guests_on(product) as one, guests_on(product) as two:
        two.console.ok("namespace other", "clear vm config", f"vm config filesystem {product.rootfs}")
        two.console.ok("vm config memory 32")
        one.launch("web[1-2]", 2)
        two.launch("web[2-3]", 2)
        for guests, names in ((one, ["web1", "web2"]), (two, ["web2", "web3"])):
            number = guests.post("cc exec hostname")
            assert number == 1
            guests.wait(number, 2)
            assert sorted(answers(guests)) == names
        own = product.base / "files"
        other = own / "other"
        two.console.ok("clear namespace other")
        assert sorted(path.read_text() for path in other.glob("miniccc_responses/1/*/stdout")) == ["web2\n", "web3\n"]
        assert one.clients() == 2 and sorted(answers(one)) == ["web1", "web2"]
        two.console.ok("namespace other", f"vm config filesystem {product.rootfs}", "vm config memory 32")
        two.launch("web9", 1)
        assert two.console.rows("cc commands") == [], "it began anew"
        two.wait(two.post("cc exec hostname"), 1)
        assert answers(two) == ["web9"]
        (aside,) = asides(other)
        assert sorted(path.read_text() for path in aside.glob("1/*/stdout")) == ["web2\n", "web3\n"]
        one.console.ok("cc delete command all")
        assert sorted(answers(one)) == ["web1", "web2"], "responses stay"
        one.wait(one.post("cc exec echo new"), 2)
        assert (answers(one), len(asides(own))) == (["new", "new"], 1)
        one.console.ok("clear cc")
        assert answers(one) == [] and not (own / "miniccc_responses").exists()
        one.wait(one.post("cc exec echo newer"), 2)
        assert (answers(one), len(asides(own))) == (["newer", "newer"], 1), "nothing was there to be put aside"
        one.console.send("quit")
        until(lambda: not product.pid("node"), "the end")
        assert [path.read_text() for path in own.glob("miniccc_responses/1/*/stdout")] == ["newer\n"] * 2
        assert [path.read_text() for path in other.glob("miniccc_responses/1/*/stdout")] == ["web9\n"]


def test_a_command_is_waited_for_before_there_is_a_guest_and_over_a_crash(product: Product) -> None:
    with guests_on(product) as guests:
        (posted,) = guests.console.command("cc exec sh -c 'sleep 2; echo done'")
        assert posted["Response"].startswith("no VM with a backchannel is known in this namespace yet")
        assert (posted["Error"], posted["Data"]) == ("", 1)
        guests.console.ok("vm launch container web[1-2]")
        guests.look()
        assert "2 of 2 guests are not done and their agents not connected" in guests.console.error("cc wait 1")
        assert guests.console.error("cc wait 1 100ms") == "after 100ms, 2 of 2 guests are not done: web1, web2"
        with product.console() as waiting:
            waiting.send("cc wait 1 60s")
            guests.console.ok("vm start all")
            until(lambda: {row["state"] for row in guests.outcomes(1).values()} == {"running"}, "both to run")
            product.replaced("cc", product.kill("cc"))
            *progress, last = waiting.receive()
        assert all(response["Response"].endswith(" guests are done") for response in progress)
        assert last["Error"] == ""
        rows = [dict(zip(last["Header"], row, strict=True)) for row in last["Tabular"]]
        assert [(row["vm"], row["state"], row["code"]) for row in rows] == [
            ("web1", "exited", "0"),
            ("web2", "exited", "0"),
        ]
        assert answers(guests) == ["done", "done"], "once each"


def test_vm_info_shows_whose_agents_are_connected(product: Product) -> None:
    with guests_on(product) as guests:

        def active() -> dict[str, str]:
            return {row["name"]: row["cc_active"] for row in guests.console.rows()}

        guests.launch("web[1-2]", 2)
        guests.console.ok("vm config backchannel false", "vm launch container mute", "vm start mute")
        assert active() == {"web1": "true", "web2": "true", "mute": "false"}
        guests.console.ok("vm kill web1")
        (agent,) = guests.agents("web2")
        os.kill(agent, signal.SIGKILL)
        until(lambda: active() == {"web1": "false", "web2": "false", "mute": "false"}, "both to be gone", CONNECT_S)
        guests.console.ok("vm start web1")
        until(lambda: active() == {"web1": "true", "web2": "false", "mute": "false"}, "one to be back", CONNECT_S)
