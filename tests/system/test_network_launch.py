"""Containers with interfaces: launched, plugged in elsewhere, launched again; processes killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.client import connect
from bus.lock import holder
from bus.messages.network import Netspec
from bus.messages.vm import GuestKind, LaunchVms, VmConfig
from shims.network import guest_netns
from tests.system.patience import FACTOR
from tests.system.product import Console, Product, product_on, shell_init, until

BACK_S = 5.0 * FACTOR
CARDS = ("vlan", "bridge", "tap", "mac")


def ip(*words: str) -> str:
    """What ip(8) says, however it ends."""
    return subprocess.run(("ip", *words), capture_output=True, text=True, check=False).stdout


def taps(product: Product) -> set[str]:
    """The devices of guests, as the kernel has them."""
    lines = ip("-brief", "-netns", f"minibus_{product.tag}", "link").splitlines()
    return {name for line in lines if (name := line.split("@")[0].split()[0]).startswith("mega_tap")}


def cards(console: Console, name: str) -> dict[str, str]:
    """What `vm info` says of the interfaces of a VM."""
    row = console.vm(name)
    return {column: row[column] for column in CARDS}


def in_files(product: Product, row: dict[str, str]) -> bool:
    """Whether the files of a VM say of its interfaces what `vm info` does."""
    cells = [row[column].strip("[]").split(", ") for column in ("bridge", "vlan", "mac")]
    specs = [f"{bridge or 'mega_bridge'},{vlan},{mac}" for bridge, vlan, mac in zip(*cells, strict=True)]
    directory = product.base / row["id"]
    shown = next(line for line in (directory / "config").read_text().splitlines() if line.startswith("Networks:"))
    names = (directory / "taps").read_text().split()
    return shown.split(maxsplit=1)[1] == f"[{' '.join(specs)}]" and names == row["tap"].strip("[]").split(", ")


@pytest.fixture
def net(shared: Product, console: Console) -> Iterator[Console]:
    """A connection; afterwards no device of a guest is left."""
    yield console
    console.ok("clear namespace", "vm kill all", "vm flush")
    assert taps(shared) == set()
    assert guest_netns.names(shared.tag) == []


def test_containers_of_a_vlan_reach_each_other_and_nobody_else(shared: Product, net: Console) -> None:
    net.ok(shell_init("ip addr add 10.9.0.1/24 dev veth0; ip link set veth0 up; sleep 1000"))
    net.ok("vm config net LAN", "vm launch container a")
    net.ok(
        shell_init(
            "ip addr add 10.9.0.2/24 dev veth0; ip link set veth0 up; "
            "until ping -c 1 -W 1 10.9.0.1; do echo no >>/no; done; echo yes >/yes; sleep 1000"
        )
    )
    net.ok("vm launch container b", "vm config net OTHER", "vm launch container c", "vm start all")
    a, b, c = (net.vm(name) for name in ("a", "b", "c"))
    until(lambda: (shared.inside(b["id"]) / "yes").exists(), "an answer in the same VLAN")
    until(lambda: (shared.inside(c["id"]) / "no").exists(), "no answer in another VLAN")
    assert not (shared.inside(c["id"]) / "yes").exists()
    net.ok("vm net connect c 0 LAN")
    until(lambda: (shared.inside(c["id"]) / "yes").exists(), "an answer after it was plugged in there")
    assert net.vm("c")["vlan"] == a["vlan"]
    assert a["vlan"].startswith("[LAN (")
    assert taps(shared) == {row["tap"].strip("[]") for row in (a, b, c)}


def test_inside_and_by_name(shared: Product, net: Console) -> None:
    """Interfaces are there before init, named in order, with the MAC addresses that `vm info` shows."""
    net.ok(shell_init("cat /sys/class/net/veth*/address >/macs; ip link show lo >/lo; echo yes >/done; sleep 1000"))
    net.ok("vm config net LAN,00:16:3e:00:00:01 br2,100 disconnected", "vm launch container a", "vm start a")
    row = net.vm("a")
    until(lambda: (shared.inside(row["id"]) / "done").exists(), "init")
    macs = row["mac"].strip("[]").split(", ")
    assert (shared.inside(row["id"]) / "macs").read_text().split() == macs
    assert macs[0] == "00:16:3e:00:00:01"
    assert "LOOPBACK,UP" in (shared.inside(row["id"]) / "lo").read_text()
    assert (row["vlan"].split(", ")[1:], row["bridge"]) == (["100", "disconnected]"], "[mega_bridge, br2, ]")
    assert (shared.base / row["id"] / "taps").read_text().split() == row["tap"].strip("[]").split(", ")
    named = ip("-netns", f"meganet_{shared.tag}_{row['id']}", "-brief", "link")
    assert [line.split("@")[0] for line in named.splitlines() if line.startswith("veth")] == ["veth0", "veth1", "veth2"]
    (data,) = [reply["Data"] for reply in net.command("vm info")]
    assert [card["mac"] for card in data[0]["interfaces"]] == macs


def test_a_relaunch_has_the_same_interfaces(shared: Product, net: Console) -> None:
    net.ok("vm config init /bin/sleep 1000", "vm config net LAN 100", "vm launch container a,b", "vm start all")
    net.ok("vm net connect a 1 disconnected", "vm net connect a 0 200 br2", "vm net add a 300")
    first = cards(net, "a")
    assert (first["vlan"], first["bridge"]) == ("[200, disconnected, 300]", "[br2, , mega_bridge]")
    until(lambda: all(in_files(shared, row) for row in net.rows()), "the files to say so")
    assert net.ok("host netcommit") == "5"
    net.ok("vm kill a")
    assert cards(net, "a") == first, "they are kept"
    assert taps(shared) == set(net.vm("b")["tap"].strip("[]").split(", ")), "but not their devices"
    net.ok("vm net connect a 1 LAN", "vm start a")
    again = cards(net, "a")
    assert (again["vlan"].split(", ")[1], again["bridge"]) == (cards(net, "b")["vlan"][1:].split(", ")[0], SAME)
    assert (again["tap"], again["mac"]) == (first["tap"], first["mac"])
    assert in_files(shared, net.vm("a"))
    assert len(taps(shared)) == 5
    inside = ip("-netns", f"meganet_{shared.tag}_{net.vm('a')['id']}", "-brief", "link")
    assert [line.split("@")[0] for line in inside.splitlines()[1:]] == ["veth0", "veth1", "veth2"]


SAME = "[br2, mega_bridge, mega_bridge]"


@pytest.mark.parametrize("state", ["BUILDING", "RUNNING", "PAUSED", "QUIT", "ERROR"])
def test_in_every_state(shared: Product, net: Console, state: str) -> None:
    net.ok("vm config init /bin/sleep 1000", "vm config net 100", "vm launch container a")
    if state in ("RUNNING", "PAUSED"):
        net.ok("vm start a")
    if state == "PAUSED":
        net.ok("vm stop a")
    if state == "QUIT":
        net.ok("vm kill a")
    if state == "ERROR":
        net.ok("clear vm config init", "vm config init /bin/false", "vm config net 100", "vm launch container b")
        net.command("vm start b")
        until(lambda: net.states()["b"] == "ERROR", "the end of a program")
        net.ok("vm kill a", "vm flush a")
    name = "b" if state == "ERROR" else "a"
    assert net.states() == {name: state}
    net.ok(f"vm net connect {name} 0 7")
    assert cards(net, name)["vlan"] == "[7]"
    net.ok(f"vm net disconnect {name} 0", f"vm net disconnect {name} 0", f"vm net add {name} 8")
    assert (cards(net, name)["vlan"], cards(net, name)["bridge"]) == ("[disconnected, 8]", "[, mega_bridge]")
    assert len(taps(shared)) == (0 if state in ("QUIT", "ERROR") else 2)
    assert net.error(f"vm net connect {name} 2 NEVER") == "no network 2, VM only has 2 networks"
    assert "NEVER" not in {row["alias"] for row in net.rows("vlans")}, "what fails gives no number to an alias"


def test_a_vm_that_never_had_a_guest(shared: Product, net: Console, tmp_path: Path) -> None:
    missing = tmp_path / "root"
    net.ok("vm config init /bin/sleep 1000", "vm config net 100 LAN", f"vm config filesystem {missing}")
    net.command("vm launch container a")
    assert net.states() == {"a": "ERROR"}
    assert net.error("vm net disconnect a 2") == "no network 2, VM only has 2 networks"
    net.ok("vm net connect a 0 7", "vm net add a 8", "vm net disconnect a 1")
    assert cards(net, "a")["vlan"] == "[7, disconnected, 8]"
    missing.symlink_to(shared.rootfs)
    net.ok("vm start a")
    assert cards(net, "a")["vlan"] == "[7, disconnected, 8]"
    assert len(taps(shared)) == 3
    until(lambda: in_files(shared, net.vm("a")), "the files to say so")


async def test_a_guest_that_cannot_be_plugged_in(shared: Product, net: Console) -> None:
    """The kernel takes no address of a group for a card."""
    config = VmConfig(
        filesystem=str(shared.rootfs),
        memory_mib=32,
        init=("/bin/sleep", "1000"),
        networks=(Netspec(vlan=100), Netspec(vlan=100, mac="01:00:5e:00:00:01")),
    )
    async with connect(shared.base) as port:
        request = LaunchVms(kind=GuestKind.CONTAINER, config=config, names=("bad",))
        report = await port.ask("vm", request, timeout_s=30.0)
    (error,) = report.errors
    assert error.startswith("bad: ")
    assert net.states() == {"bad": "ERROR"}
    assert f"bad: {json.loads(net.vm('bad')['tags'])['error']}" == error
    assert taps(shared) == set()
    assert shared.guest_pids() == set()


def test_hundreds_of_interfaces_go_with_their_guests(shared: Product, net: Console) -> None:
    net.ok("vm config init /bin/sleep 1000", f"vm config net{' LAN' * 32}", "vm launch container v[1-5]")
    assert len(taps(shared)) == 160
    assert len(set(", ".join(row["mac"].strip("[]") for row in net.rows()).split(", "))) == 160
    net.ok("vm kill all")
    assert taps(shared) == set()


# --- processes that are killed


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """minibus without guests."""
    with product_on(base_dir, rootfs) as product:
        yield product


@pytest.mark.parametrize(("process", "made"), [("network", 1), ("network", 20), ("vm", 1), ("vm", 20)])
def test_killed_while_fifty_are_launched(product: Product, process: str, made: int) -> None:
    with product.configured() as console:
        console.ok("vm config init /bin/sleep 1000", "vm config net LAN 100")
        console.send("vm launch container m[1-50]")
        until(lambda: len(taps(product)) >= made, "interfaces to be made")
        old = product.kill(process)
        (response,) = console.receive()
        assert response["Error"] == ""
        product.replaced(process, old, BACK_S)
        product.everything_answers(BACK_S)
        assert set(console.states().values()) == {"BUILDING"}
        shown = {tap for row in console.rows() for tap in row["tap"].strip("[]").split(", ")}
        assert len(shown) == 100
        assert taps(product) == shown
        console.ok("vm start all", "vm kill all", "vm flush")
    assert (product.guests_left(), product.directories(), taps(product)) == ([], [], set())


def test_networks_do_not_answer(product: Product) -> None:
    """VMs without interfaces do not notice; the devices of a guest that ends meanwhile go afterwards."""
    with product.configured() as console, product.console() as other:
        console.ok("vm config init /bin/sleep 1000", "vm config net LAN", "vm launch container a", "vm start a")
        stopped = product.kill("network", signal.SIGSTOP)
        try:
            os.kill(int(console.vm("a")["pid"]), signal.SIGKILL)
            console.ok("clear vm config net", "vm launch container b", "vm start b", "vm kill b", "vm flush b")
            until(lambda: (product.base / "0" / "state").read_text() == "ERROR", "its end")
            other.send("vm start a")
        finally:
            os.kill(stopped, signal.SIGCONT)
        (response,) = other.receive()
        assert response["Error"] == ""
        assert taps(product) == {console.vm("a")["tap"].strip("[]")}
        console.ok("vm kill a", "vm flush")
        assert taps(product) == set()


def test_guests_keep_their_interfaces_while_minibus_is_down(product: Product) -> None:
    with product.configured() as console:
        console.ok("vm config init /bin/sleep 1000", "vm config net LAN 100", "vm launch container a,b", "vm start a")
        before = [cards(console, name) for name in "ab"]
    product.down()
    assert len(taps(product)) == 4
    product.up()
    with product.console() as console:
        assert [cards(console, name) for name in "ab"] == before
        console.ok("vm net connect a 0 200", "vm start b")
        assert cards(console, "a")["vlan"] == "[200, 100]"
        console.ok("vm kill a,b", "vm start a", "vm kill a")
        assert taps(product) == set()
        console.ok("vm flush")
    assert product.guests_left() == []


WIRE, WIRE_END, TAP, OTHER_TAP = "mbe0", "mbe1", "mbe2", "mbe3"


def on_host() -> dict[str, list[str]]:
    """State and addresses of those interfaces of this test that are on the host."""
    lines = [line.split() for line in ip("-brief", "-4", "address").splitlines()]
    return {name: words for first, *words in lines if (name := first.split("@")[0]) in (WIRE, TAP, OTHER_TAP)}


@pytest.fixture
def wire() -> Iterator[str]:
    """An interface of the host, with an address."""
    ip("link", "add", WIRE, "type", "veth", "peer", "name", WIRE_END)
    ip("address", "add", "10.86.1.1/24", "dev", WIRE)
    for name in (WIRE, WIRE_END):
        ip("link", "set", name, "up")
    try:
        yield WIRE
    finally:
        ip("link", "delete", WIRE_END)


@pytest.mark.parametrize("how", ["down --guests", "quit"])
def test_the_end_of_all_guests_leaves_the_host_as_it_was(product: Product, wire: str, how: str) -> None:
    before = on_host()
    with product.configured() as console:
        console.ok("vm config init /bin/sleep 1000", "vm config net LAN", "vm launch container a")
        console.ok(f"tap create LAN ip 10.86.0.1/24 {TAP}", f"namespace exp tap create LAN name {OTHER_TAP}")
        console.ok("dnsmasq start 10.86.0.1 10.86.0.10 10.86.0.20", f"bridge trunk mega_bridge {wire} force")
        assert wire not in on_host()
        if how == "quit":
            console.send(how)
            until(lambda: not holder(product.base / "run" / "node.lock"), "the end of the node")
        else:
            product.down("--guests")
    until(lambda: on_host() == before, "the interface as it was, and no others")
    assert before == {wire: ["UP", "10.86.1.1/24"]}
    assert (product.guests_left(), list(product.base.glob("dnsmasq_*"))) == ([], [])
    assert f"minibus_{product.tag}" not in ip("netns")
