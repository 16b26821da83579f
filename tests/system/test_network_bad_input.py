"""Mistakes in commands about networks: one clear sentence each, and nothing is left of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.product import Console, Product, one_sentence

TAP = "mbn0"
ADDRESS = "10.96.0.1"
FOREIGN = "mbnbr0"
"""A bridge of the host that is not ours."""
LISTS = ("tap", "bridge", "vlans", "vlans range", "vlans blacklist", "dnsmasq", "dnsmasq configure all ip")
NO_BRIDGE = f"{FOREIGN} is an interface of this host and no bridge of minibus; `bridge trunk` plugs it into one"
NAME = "is not 1 to 15 letters, digits, `_`, `-` and `.`, the last two not at the beginning"
VLAN = "invalid VLAN (0 <= vlan < 4096)"
NO_ADDRESS = "is no address with a prefix length: expected one such as 10.0.0.1/24"


def ip(*words: str) -> str:
    """What ip(8) says; it must succeed."""
    return subprocess.run(("ip", *words), capture_output=True, text=True, check=True).stdout


def through_default() -> str:
    """The interface that the host reaches the world through; empty if there is none."""
    words = ip("route", "show", "default").split()
    return words[words.index("dev") + 1] if "dev" in words else ""


@contextmanager
def _foreign_bridge() -> Iterator[None]:
    ip("link", "add", FOREIGN, "type", "bridge")
    try:
        yield
    finally:
        ip("link", "delete", FOREIGN)


@pytest.fixture
def net(shared: Product, console: Console) -> Iterator[Console]:
    """A connection to a host with a tap, and a VM that has one interface in a VLAN and one in none."""
    try:
        with _foreign_bridge():
            console.ok(f"tap create LAN ip {ADDRESS}/24 {TAP}", "vm config net LAN disconnected")
            console.ok("vm config init /bin/sleep 1000", "vm launch container a", "vm start a")
            yield console
    finally:
        console.ok("clear all")
    assert shared.tag not in ip("-oneline", "link"), "an interface of the host is left"


REFUSED = {
    # host taps
    f"tap create LAN bridge {FOREIGN}": NO_BRIDGE,
    "tap create LAN bridge all": "`all` is a reserved word -- cannot use for bridge name",
    f"tap create LAN name {FOREIGN}": f"this host has an interface {FOREIGN} already",
    f"tap create LAN name {TAP}": f"tap already on bridge: {TAP}",
    "tap create LAN name sixteen_letters_": f"invalid tap name, `sixteen_letters_` {NAME}",
    "tap create LAN name ../x": f"invalid tap name, `../x` {NAME}",
    "tap create LAN name mega_bridge": "mega_bridge is the name of a bridge",
    "tap create NEW ip 10.0.0.300/24": f"`10.0.0.300/24` {NO_ADDRESS}",
    "tap create NEW ip 10.0.0.1/33": f"`10.0.0.1/33` {NO_ADDRESS}",
    "tap create NEW ip 10.0.0.255/24": "10.0.0.255/24 cannot be the address of a tap: it stands for all of 10.0.0.0/24",
    "tap create NEW ip 127.0.0.1/8": "127.0.0.1/8 cannot be the address of a tap: it is no host's",
    "tap delete nosuch": "unknown tap: nosuch",
    "tap delete lo": "unknown tap: lo",
    f"namespace exp tap delete {TAP}": f"not a host tap in active namespace: {TAP}",
    f"tap mirror {TAP} {TAP}": "cannot mirror tap to itself",
    f"tap mirror {TAP} nosuch": "destination tap is not on bridge: nosuch",
    # VLANs
    "tap create 4096": VLAN,
    "tap create -1": VLAN,
    "tap create disconnected": "a tap is plugged into a VLAN, it cannot be disconnected",
    "tap create a//b//c": "invalid VLAN alias, `a//b//c` is not `alias` or `namespace//alias`",
    "tap create //x": "invalid VLAN alias, `//x` is not `alias` or `namespace//alias`",
    'tap create ""': "VLAN must be non-empty string",
    "vlans add NEW 5000": VLAN,
    "vlans add NEW 101": "vlan already in use: 101 is minimega//LAN",
    "vlans add a//b//c 7": "invalid VLAN alias, `a//b//c` is not `alias` or `namespace//alias`",
    "vlans range 200 100": "expected min < max: 200 is not below 100",
    "vlans blacklist 5000": VLAN,
    # netspecs and interfaces
    "vm config net NEW 4096": VLAN,
    "vm config net NEW LAN,01:00:5e:00:00:01": None,
    "vm config net NEW LAN,bogusmac": None,
    "vm config net a,b,c,d,e": "malformed netspec, `a,b,c,d,e` has more than the four fields bridge,vlan,mac,driver",
    "vm net connect a 0 5000": VLAN,
    "vm net connect a 7 NEW": "no network 7, VM only has 2 networks",
    "vm net connect a x NEW": None,
    "vm net connect nosuch 0 NEW": "vm not found: nosuch",
    f"vm net connect a 0 NEW {FOREIGN}": NO_BRIDGE,
    "vm net add a 5000": VLAN,
    # qos
    "qos add a 7 delay 10ms": "invalid tap index specified: 7",
    "qos add a x delay 10ms": "invalid tap index `x`: interfaces are numbered 0, 1, 2, ..., or say all",
    "qos add a 0 rate 99999999999999 gbit": None,
    "qos add a 0 rate 0 kbit": None,
    "qos add a 0 rate -1 kbit": None,
    "qos add a 0 loss 101": None,
    "qos add a 0 loss nan": None,
    "qos add a 0 delay 5h": None,
    "qos add a 0 delay -1ms": "delay cannot be negative",
    # trunks
    "bridge trunk mega_bridge nosuch0": "this host has no interface nosuch0",
    "bridge trunk mega_bridge lo": "lo is the loopback interface, it leads nowhere",
    f"bridge trunk mega_bridge {TAP}": f"{TAP} is a host tap: it is plugged into VLAN 101 already",
    f"bridge trunk {FOREIGN} eth9": NO_BRIDGE,
    "bridge trunk a/b eth9": f"invalid bridge name, `a/b` {NAME}",
    f"bridge notrunk mega_bridge {FOREIGN}": f"unknown trunk: {FOREIGN}",
    # dnsmasq
    f"dnsmasq start {ADDRESS} 10.96.0.30 10.96.0.40": f"dnsmasq 0 listens on {ADDRESS} already",
    "dnsmasq start 10.96.0.2 10.96.0.20 10.96.0.40": "the range overlaps with 10.96.0.10 to 10.96.0.20 of dnsmasq 0",
    "dnsmasq start 10.96.0.2 10.96.0.40 10.96.0.30": "the range is empty: 10.96.0.40 is above 10.96.0.30",
    "dnsmasq start 10.96.0.2 10.96.0.30 10.96.0.40": (
        "no interface of this host has the address 10.96.0.2: `tap create <vlan> ip` makes one"
    ),
    "dnsmasq start x 10.96.0.30 10.96.0.40": ("invalid listen address `x`: expected an IPv4 address such as 10.0.0.1"),
    "dnsmasq start 127.0.0.1 10.96.0.30 10.96.0.40": "invalid listen address `127.0.0.1`: it is no host's",
    "dnsmasq start relative/path": "`relative/path` is no absolute path of a configuration file",
    "dnsmasq start /nonexistent": "cannot read /nonexistent: No such file or directory",
    "dnsmasq start /etc/passwd": "bad option at line 1 of /etc/passwd",
    "dnsmasq kill 7": "invalid id: there is no dnsmasq 7",
    "dnsmasq kill x": "invalid dnsmasq ID `x`: expected a number that `dnsmasq` lists, or `all`",
    "dnsmasq configure 7 ip": "invalid dnsmasq ID",
    "dnsmasq configure 0 ip x 10.96.0.16": None,
    "dnsmasq configure 0 ip 00:16:3e:00:00:02 10.96.0.15": (
        "10.96.0.15 is kept for 00:16:3e:00:00:01 already, in dnsmasq 0"
    ),
    "dnsmasq configure 0 ip 00:16:3e:00:00:02 10.97.0.15": (
        "10.97.0.15 is not within 10.96.0.0/24, the network of dnsmasq 0"
    ),
    "dnsmasq configure 0 dns 10.96.0.15 a/b": "`a/b` is no name of a host",
    "dnsmasq configure 0 options nonsense": "`nonsense` is no DHCP option: bad dhcp-option",
    "dnsmasq configure 0 dns upstream server x": None,
    "clear dnsmasq 0 dns 10.96.0.99": "there is no such entry: 10.96.0.99",
}
"""Command and error; None where any one sentence will do."""


def test_one_sentence_and_nothing_left(shared: Product, net: Console) -> None:
    net.ok(f"dnsmasq start {ADDRESS} 10.96.0.10 10.96.0.20", "dnsmasq configure 0 ip 00:16:3e:00:00:01 10.96.0.15")
    before = picture(shared, net)
    for line, sentence in REFUSED.items():
        error = one_sentence(net.error(line))
        assert sentence in (None, error), f"{line}: {error}"
        assert picture(shared, net) == before, line


def picture(product: Product, console: Console) -> list[object]:
    """All that networks are, for users and on the host."""
    return [
        *(console.rows(line) for line in LISTS),
        console.ok("vm config net"),
        [{key: row[key] for key in ("vlan", "bridge", "tap", "mac", "qos")} for row in console.rows()],
        sorted(line for line in ip("-oneline", "link").splitlines() if product.tag in line or FOREIGN in line),
        sorted(path.name for path in product.base.glob("dnsmasq_*")),
    ]


def test_the_host_keeps_its_way_to_the_world(net: Console) -> None:
    """Without one there is nothing to be lost, so one is made up."""
    name = through_default()
    if not name:
        name = FOREIGN
        ip("link", "set", name, "up")
        ip("route", "add", "default", "dev", name)
    error = net.error(f"bridge trunk mega_bridge {name}")
    assert error.startswith(f"this host reaches the world through {name}, and would not any more")
    assert "force" in error
    assert through_default() == name


def test_constraints_of_an_interface_that_is_plugged_in_nowhere(net: Console) -> None:
    """They hold once it is plugged in, and are no mistake."""
    net.ok("qos add a 1 rate 10 mbit")
    assert net.vm("a")["qos"] == "[1: rate 10mbit]"
    net.ok("vm net connect a 1 LAN")
    assert net.vm("a")["qos"] == "[1: rate 10mbit]"
