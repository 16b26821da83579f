"""DHCP and DNS on a running host: guests that ask a server, a host tap that asks a guest, and the ends of servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bus.paths import base_tag
from shims.nuke import leftovers
from shims.programs import process_tree
from tests.system.product import Console, Product, product_on, shell_init, until

TAP, OTHER = "mbd0", "mbd1"
SERVER = "dnsmasq start 10.94.0.1 10.94.0.10 10.94.0.200"
MAC = "00:16:3e:00:00:01"


@pytest.fixture
def net(shared: Product) -> Iterator[Console]:
    """A connection to a host with a tap; afterwards no server, no tap and no guest is left."""
    with shared.configured() as console:
        try:
            console.ok(f"tap create LAN ip 10.94.0.1/24 {TAP}")
            yield console
        finally:
            console.ok("clear all")
        assert console.rows("dnsmasq") == []
    assert (running(shared), shared.guests_left()) == ([], [])
    assert list(shared.base.glob("dnsmasq_*")) == []
    assert shared.tag not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


def running(product: Product) -> list[int]:
    """Processes of servers."""
    return process_tree.marked(f"{product.tag}-dnsmasq_")


def pid_of(console: Console) -> int:
    """Of the only server."""
    (row,) = console.rows("dnsmasq")
    return int(row["pid"])


def inside(console: Console, product: Product, name: str, *words: str) -> str:
    """What a program of busybox's says in the networks of a guest, however it ends."""
    netns = f"meganet_{product.tag}_{console.vm(name)['id']}"
    return subprocess.run(["ip", "netns", "exec", netns, "busybox", *words], capture_output=True, text=True).stdout


def test_a_guest_gets_its_address_and_asks_for_names(shared: Product, net: Console) -> None:
    net.ok(SERVER, f"dnsmasq configure all ip {MAC} 10.94.0.77", "dnsmasq configure all dns 10.94.0.5 db.example")
    net.ok("dnsmasq configure all options option:router,10.94.0.1", "dnsmasq configure all dns 10.94.0.6 gone")
    net.ok("clear dnsmasq all dns 10.94.0.6")
    net.ok(
        shell_init("udhcpc -f -i veth0 -x hostname:web >/said 2>&1; sleep 1000"),
        f"vm config net LAN,{MAC}",
        "vm launch container web",
        "vm start all",
    )
    root = shared.inside(net.vm("web")["id"])
    until(lambda: "nameserver" in said(root / "etc/resolv.conf"), "a lease")
    assert "lease of 10.94.0.77 obtained from 10.94.0.1" in said(root / "said")
    assert said(root / "etc/resolv.conf") == "nameserver 10.94.0.1\n"
    assert "default via 10.94.0.1" in inside(net, shared, "web", "ip", "route")
    for name, address in (("db.example", "10.94.0.5"), ("web", "10.94.0.77")):
        assert f"Address: {address}\n" in lookup(net, shared, name)
    for name in ("gone", "localhost.localdomain", socket.gethostname(), "example.org"):
        assert "Address: 1" not in lookup(net, shared, name), "there is no upstream, and the host's names are its own"


def said(path: Path) -> str:
    """What is in a file by now."""
    return path.read_text() if path.exists() else ""


def lookup(console: Console, product: Product, name: str) -> str:
    """What the server says of a name, without what it says of itself."""
    answer = inside(console, product, "web", "nslookup", "-type=a", name, "10.94.0.1")
    return answer.partition("\n\n")[2]


def test_each_answers_in_its_own_vlan_alone(shared: Product, net: Console) -> None:
    """Neither DNS nor DHCP of one VLAN is to be had in another, not even with a route to its address."""
    net.ok(SERVER, "dnsmasq configure all dns 10.94.0.5 secret")
    net.ok(f"tap create OTHER ip 10.93.0.1/24 {OTHER}", "dnsmasq start 10.93.0.1 10.93.0.10 10.93.0.20")
    net.ok(
        shell_init(
            "ip addr add 10.93.0.9/24 dev veth0; ip link set veth0 up; ip route add default via 10.93.0.1; "
            "udhcpc -n -q -i veth0 >/said 2>&1; sleep 1000"
        ),
        "vm config net OTHER",
        "vm launch container web",
        "vm start all",
    )
    root = shared.inside(net.vm("web")["id"])
    until(lambda: "obtained" in said(root / "said"), "a lease")
    assert "obtained from 10.93.0.1" in said(root / "said")
    assert "secret" in inside(net, shared, "web", "nslookup", "-type=a", "secret", "10.93.0.1"), "it answers"
    assert "10.94.0.5" not in inside(
        net, shared, "web", "nslookup", "-timeout=1", "-retry=1", "-type=a", "secret", "10.94.0.1"
    )
    leases = [path.read_text() for path in shared.base.glob("dnsmasq_*/dnsmasq.leases")]
    assert sorted(bool(lease) for lease in leases) == [False, True]


def test_it_outlives_the_actor_and_its_own_end_is_seen(shared: Product, net: Console) -> None:
    net.ok(SERVER, "dnsmasq configure all dns 10.94.0.5 db")
    pid, was = pid_of(net), psutil.Process(pid_of(net)).create_time()
    old = shared.kill("network")
    shared.replaced("network", old)
    shared.everything_answers()
    assert (pid_of(net), psutil.Process(pid).create_time()) == (pid, was)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid_of(net) == -1, "its end to be seen")
    assert shared.log_end().count('"event": "dnsmasq_ended"') == 1
    net.ok("dnsmasq kill all", SERVER)
    pid = pid_of(net)
    net.ok(f"tap delete {TAP}")
    until(lambda: not psutil.pid_exists(pid), "the end of what listened there")
    assert net.rows("dnsmasq") == []


def test_a_namespace_ends_what_listens_on_its_taps(shared: Product, net: Console) -> None:
    net.ok(SERVER, f"namespace exp tap create LAN ip 10.93.0.1/24 {OTHER}")
    net.ok("dnsmasq start 10.93.0.1 10.93.0.10 10.93.0.20", "clear namespace exp")
    until(lambda: len(running(shared)) == 1, "one server less")
    assert [row["address"] for row in net.rows("dnsmasq")] == ["10.94.0.1"]


def test_it_has_no_rights_where_its_files_can_be_reached(base_dir: Path, rootfs: Path) -> None:
    """And it stays while minibus is down, but not without its guests, nor after `nuke`."""
    base_dir.chmod(0o755)
    base = base_dir / "b"
    base.mkdir(mode=0o755)
    with product_on(base, rootfs) as product:
        with product.console() as console:
            console.ok(f"tap create LAN ip 10.94.0.1/24 {TAP}", SERVER)
            pid = pid_of(console)
            assert psutil.Process(pid).username() in ("dnsmasq", "nobody")
        product.down()
        assert running(product) == [pid]
        product.up()
        with product.console() as console:
            assert pid_of(console) == pid
            console.ok("dnsmasq configure all dns 10.94.0.5 db")
        until(lambda: "db" in asked("db"), "the new name")
        product.down("--guests")
        assert running(product) == []
        product.up()
        with product.console() as console:
            assert (console.rows("dnsmasq"), console.rows("tap")) == ([], [])
            console.ok(f"tap create LAN ip 10.94.0.1/24 {TAP}", SERVER)
        assert product.minibus("nuke", "--yes").status == 0
        assert leftovers.find(base, base_tag(base.resolve())) == []
        assert sorted(path.name for path in base.iterdir()) == ["files", "log"]


def asked(name: str) -> str:
    """What the server tells the host."""
    return subprocess.run(
        ["busybox", "nslookup", "-type=a", name, "10.94.0.1"], capture_output=True, text=True
    ).stdout.partition("\n\n")[2]


# ---------------------------------------------------------------- a host tap by DHCP


def test_a_tap_leases_its_address_from_a_guest(shared: Product, net: Console, base_dir: Path) -> None:
    """It is renewed, also by the next actor; the server's router and name servers are not taken."""
    before = routes(), Path("/etc/resolv.conf").read_text()
    (base_dir / "udhcpd.conf").write_text(
        "start 10.92.0.10\nend 10.92.0.20\ninterface veth0\nlease_file /leases\npidfile /udhcpd.pid\n"
        "option subnet 255.255.255.0\noption lease 4\noption router 10.92.0.1\noption dns 10.92.0.1\nmin_lease 4\n"
    )
    net.ok(
        f"vm config volume /conf {base_dir}",
        shell_init(
            "touch /leases; ip addr add 10.92.0.1/24 dev veth0; ip link set veth0 up; udhcpd -f /conf/udhcpd.conf"
        ),
        "vm config net ROUTED",
        "vm launch container router",
        "vm start all",
    )
    assert net.ok(f"tap create ROUTED dhcp {OTHER}") == OTHER
    (address,) = (row["address"] for row in net.rows("tap") if row["tap"] == OTHER)
    assert address.startswith("10.92.0.1")
    assert address.endswith("/24")
    assert address in subprocess.run(["ip", "address", "show", "dev", OTHER], capture_output=True, text=True).stdout
    assert (routes(), Path("/etc/resolv.conf").read_text()) == before
    file = shared.base / "run" / "dhcp" / f"{OTHER}.json"
    for _ in range(2):
        since = json.loads(file.read_text())["obtained"]
        until(lambda since=since: obtained(file) > since, "another lease")  # type: ignore[misc]
        old = shared.kill("network")
        shared.replaced("network", old)
        shared.everything_answers()
    assert [row["address"] for row in net.rows("tap") if row["tap"] == OTHER] == [address]
    net.ok(f"tap delete {OTHER}")
    assert not file.exists()


def obtained(file: Path) -> float:
    """When the lease in a file was obtained; 0 while it is being written."""
    try:
        return float(json.loads(file.read_text())["obtained"])
    except ValueError:
        return 0.0


def routes() -> list[str]:
    """The default routes of this host."""
    return subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True).stdout.splitlines()
