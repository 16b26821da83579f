"""The PyPI package `minimega`, unmodified, commanding guests through their agents."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.contract.minimega_client import VERSIONS, load, unserved, variants
from tests.ports import free_port
from tests.system.product import Product, product_on, until
from tests.system.test_minimega_client import connected, is_elsewhere

PATIENCE_S = 60.0


@pytest.fixture(params=VERSIONS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """A version of the client."""
    return load(request.param)


@pytest.fixture
def product(base_dir: Path, agent_rootfs: Path) -> Iterator[Product]:
    """minibus with two containers that have agents."""
    with product_on(base_dir, agent_rootfs) as product:
        with product.configured() as console:
            console.ok("vm launch container web[1-2]", "vm start all")
            until(lambda: console.rows("cc")[0]["clients"] == "2", "two agents", PATIENCE_S)
        yield product


class Recorded:
    """A client whose methods are noted as they are called; every answer has one response, which it returns."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.called: set[str] = set()

    def __getattr__(self, method: str) -> Callable[..., dict[str, Any]]:
        def call(*words: object) -> dict[str, Any]:
            self.called.add(method)
            (response,) = getattr(self._client, method)(*words)
            found: dict[str, Any] = response
            return found

        return call


class Guests:
    """What the tests ask again and again."""

    def __init__(self, module: ModuleType, client: Recorded) -> None:
        self.module = module
        self.client = client
        rows = module.as_dict(client.vm_info())
        self.uuids = {row["name"]: row["uuid"] for row in rows}

    def answered(self, number: int, count: int) -> None:
        """Wait until so many guests have answered a command."""

        def is_answered() -> bool:
            rows = self.module.as_dict(self.client.cc_commands())
            return [row["responses"] for row in rows if row["id"] == str(number)] == [str(count)]

        until(is_answered, f"{count} responses to command {number}", PATIENCE_S)

    def processes(self) -> list[str]:
        """Command lines in the background of all guests."""
        return [row["command"] for row in self.module.as_dict(self.client.cc_process_list("all"))]


def test_every_method_about_agents(module: ModuleType, product: Product, tmp_path: Path) -> None:
    (product.base / "files" / "a.txt").write_text("sent\n")
    with connected(module, product) as raw:
        client = Recorded(raw)
        guests = Guests(module, client)
        assert module.as_dict(client.cc()) == [{"clients": "2"}]
        rows = module.as_dict(client.cc_clients())
        assert {row["hostname"]: (row["uuid"], row["os"]) for row in rows} == {
            name: (uuid, "linux") for name, uuid in guests.uuids.items()
        }
        run_programs(guests)
        move_files(guests, product)
        reach_others(guests)
        mount(guests, tmp_path)
        forget(guests)
        served = {method for method, _ in variants(module) if is_elsewhere(method)} - set(unserved())
        assert {method for method in client.called if is_elsewhere(method)} == served


def run_programs(guests: Guests) -> None:
    """Commands, in the foreground and in the background."""
    client, uuids = guests.client, guests.uuids
    client.cc_prefix("names")
    assert client.cc_prefix()["Response"] == "names"
    client.cc_filter("name=web1")
    assert len(client.cc_filter()["Tabular"]) == 1
    posted = client.cc_exec("hostname")
    assert (posted["Response"], posted["Data"]) == ("", 1)
    guests.answered(1, 1)
    assert client.cc_exitcode("1", "web1")["Response"] == "0"
    heading = f"1/{uuids['web1']}/stdout:\n"
    for words in (("1",), ("names",), ("all",)):
        assert client.cc_responses(*words)["Response"] == f"{heading}web1\n\n"
    assert client.cc_responses("1", "raw")["Response"] == "web1\n\n"
    client.clear_cc_filter()
    client.clear_cc_prefix()
    assert client.cc_exec_once("sh -c 'exit 3'")["Data"] == 2
    guests.answered(2, 2)
    assert client.cc_exitcode("2", "web2")["Response"] == "3"
    client.cc_background("sleep 1000")
    client.cc_background_once("sleep 2000")
    until(lambda: sorted(guests.processes()) == ["sleep 1000"] * 2 + ["sleep 2000"] * 2, "four processes", PATIENCE_S)
    client.cc_process_killall("'sleep 1'")
    until(lambda: guests.processes() == ["sleep 2000"] * 2, "the end of two", PATIENCE_S)
    client.cc_process_kill("all")
    until(lambda: guests.processes() == [], "the end of all", PATIENCE_S)
    client.cc_log_level("info")


def move_files(guests: Guests, product: Product) -> None:
    """There and back."""
    client = guests.client
    client.cc_send("a.txt")
    number = client.cc_recv("/tmp/miniccc/files/a.txt")["Data"]
    guests.answered(number, 2)
    for uuid in guests.uuids.values():
        path = product.base / "files" / "miniccc_responses" / str(number) / uuid / "tmp/miniccc/files/a.txt"
        assert path.read_text() == "sent\n"


def reach_others(guests: Guests) -> None:
    """Tests of connections, tunnels, and agents that come over TCP."""
    client = guests.client
    number = client.cc_test_conn_wait("tcp", "127.0.0.1", "1", "200ms")["Data"]
    guests.answered(number, 2)
    assert "127.0.0.1:1 | fail" in client.cc_responses(str(number))["Response"]
    client.cc_test_conn_wait("udp", "127.0.0.1", "1", "100ms", "aGVsbG8=")
    port = free_port()
    client.cc_tunnel("web1", str(port), "127.0.0.1", "7")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""  # nobody listens there in the guest
    client.cc_rtunnel(str(port), "127.0.0.1", "7")
    if hasattr(guests.module.minimega, "cc_tunnel_list"):
        tunnels = guests.module.as_dict(client.cc_tunnel_list("web1"))
        assert [tunnel["src port"] for tunnel in tunnels] == [str(port)] * 2
        for tunnel in tunnels:
            client.cc_tunnel_close("web1", tunnel["id"])
        assert guests.module.as_dict(client.cc_tunnel_list("web1")) == []
    client.cc_listen(str(free_port()))


def mount(guests: Guests, point: Path) -> None:
    """The file systems of a guest on this host."""
    client = guests.client
    client.cc_mount(guests.uuids["web1"], str(point))
    assert (point / "tmp/miniccc/files/a.txt").read_text() == "sent\n"
    with pytest.raises(guests.module.Error, match="web1 is mounted at"):
        client.cc_mount("web1", str(point))
    with pytest.raises(guests.module.Error, match="must provide a mount path"):
        client.cc_mount("web2")
    client.clear_cc_mount("web1")
    assert list(point.iterdir()) == []
    client.clear_cc_mount()


def forget(guests: Guests) -> None:
    """Deleting one, and all."""
    client = guests.client
    client.cc_delete_command("1")
    assert "1" not in [row["id"] for row in guests.module.as_dict(client.cc_commands())]
    client.cc_delete_response("1")
    with pytest.raises(guests.module.Error, match="no responses for 1"):
        client.cc_responses("1")
    client.clear_cc_commands()
    assert guests.module.as_dict(client.cc_commands()) == []
    client.clear_cc_responses()
    assert client.cc_responses("all")["Response"] == ""
    client.cc_filter("os=linux")
    client.clear_cc()
    assert client.cc_filter()["Tabular"] is None
