"""`qos`, `tap mirror` and the addresses in `vm info`, from the command to the packets."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from shims.network import netns
from tests.system.product import Console, Product, shell_init, until

ADDRESS = "10.95.0.1"


def column(console: Console, vm: str, name: str) -> str:
    """One cell of `vm info`."""
    return console.vm(vm)[name]


def received_bps(guest: str, name: str, wanted: int) -> float:
    """How fast a guest of that network namespace gets so many bytes from the host."""
    path = f"{netns.DIRECTORY}/{name}"
    descriptor = os.open(path, os.O_RDONLY)
    with ThreadPoolExecutor(1) as inside:
        inside.submit(netns.enter, descriptor).result()
        server = inside.submit(socket.create_server, (guest, 0)).result()
    os.close(descriptor)
    with server, socket.create_connection(server.getsockname(), 10) as here:
        there, _ = server.accept()
        with there, ThreadPoolExecutor(1) as sending:
            job = sending.submit(here.sendall, bytes(wanted))
            begun_s, got = time.monotonic(), 0
            while got < wanted:
                got += len(there.recv(1 << 16))
            took_s = time.monotonic() - begun_s
            job.result()
    return wanted * 8 / took_s


def test_what_a_guest_receives_is_shaped_and_seen(shared: Product, console: Console) -> None:
    console.ok(shell_init(f"ip addr add {ADDRESS}/24 dev veth0; ip link set veth0 up; sleep 1000"))
    console.ok("vm config net LAN OTHER", "vm launch container a", "vm start a")
    console.ok("tap create LAN ip 10.95.0.9/24 mbq0", "tap create WATCH name mbq1")
    name = f"meganet_{shared.tag}_{column(console, 'a', 'id')}"

    console.ok("qos add a 0 rate 2 mbit", "qos add a 1 rate 10 gbit")
    assert column(console, "a", "qos") == "[0: rate 2mbit, 1: rate 10gbit]"
    assert 1e6 < received_bps(ADDRESS, name, 200_000) < 4e6
    console.ok("vm net connect a 0 OTHER", "vm net connect a 0 LAN")
    assert 1e6 < received_bps(ADDRESS, name, 200_000) < 4e6
    assert console.error("qos add a 2 rate 1 mbit") == "invalid tap index specified: 2"
    console.ok("clear qos a 0")
    assert column(console, "a", "qos") == "[1: rate 10gbit]"
    assert received_bps(ADDRESS, name, 2_000_000) > 8e6

    until(lambda: column(console, "a", "ip") == f"[{ADDRESS}, ]", "its address")

    (tap, _) = column(console, "a", "tap").strip("[]").split(", ")
    console.ok(f"tap mirror {tap} mbq1")
    assert [row["source"] for row in console.rows("tap mirror")] == [tap]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as watch:
        watch.bind(("mbq1", 0))
        watch.settimeout(10)
        received_bps(ADDRESS, name, 1000)
        seen = {watch.recv(2000)[26:30] for _ in range(6)}
    assert {socket.inet_aton(ADDRESS), socket.inet_aton("10.95.0.9")} <= seen
    console.ok("tap delete mbq1")
    assert console.rows("tap mirror") == []
    console.ok("clear tap", "qos add a all rate 5 mbit", "vm kill a", "vm start a")
    assert column(console, "a", "qos") == "[0: rate 5mbit, 1: rate 5mbit]"
