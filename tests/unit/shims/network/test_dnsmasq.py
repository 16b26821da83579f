"""dnsmasq's arguments, files and words; what a DHCP client takes from a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shims.network import dhcp_client, dnsmasq
from shims.network.dhcp_client import RefusedError
from shims.network.dnsmasq import DnsmasqError, Entries, Place, Spec

D = Path("/base/dnsmasq_1")


def test_arguments_of_a_server_on_a_tap() -> None:
    spec = Spec(D, "mark", address="10.0.0.1", low="10.0.0.10", high="10.0.0.20")
    argv = dnsmasq.arguments(spec, "lan0", "nobody")
    assert argv == [
        "dnsmasq",
        "--keep-in-foreground",
        "--user=nobody",
        "--pid-file=/base/dnsmasq_1/dnsmasq.pid",
        "--addn-hosts=/base/dnsmasq_1/hostdir/hosts",
        "--dhcp-hostsfile=/base/dnsmasq_1/dhcpdir/dhcp",
        "--dhcp-optsfile=/base/dnsmasq_1/dhcpoptsdir/dhcp-options",
        "--resolv-file=/base/dnsmasq_1/resolv.conf",
        "--conf-file=/dev/null",
        "--interface=lan0",
        "--except-interface=lo",
        "--bind-dynamic",
        "--dhcp-range=10.0.0.10,10.0.0.20",
        "--dhcp-leasefile=/base/dnsmasq_1/dnsmasq.leases",
        "--dhcp-lease-max=11",
        "--no-hosts",
        "--quiet-dhcp",
        "--no-ping",
    ]


def test_arguments_of_a_configuration_file() -> None:
    argv = dnsmasq.arguments(Spec(D, "mark", config="/etc/own.conf"), "", "root")
    assert argv[-1] == "--conf-file=/etc/own.conf"
    assert not any(word.startswith(("--interface", "--dhcp-range", "--no-hosts")) for word in argv)


def test_files() -> None:
    entries = Entries(
        {"00:16:3e:00:00:01": "10.0.0.7"}, {"10.0.0.7": "web", "fd00::1": "six"}, ["3,10.0.0.1"], "9.9.9.9"
    )
    assert dnsmasq.files(entries) == {
        "hostdir/hosts": "10.0.0.7\tweb\nfd00::1\tsix\n",
        "dhcpdir/dhcp": "00:16:3e:00:00:01,10.0.0.7\n",
        "dhcpoptsdir/dhcp-options": "3,10.0.0.1\n",
        "resolv.conf": "nameserver 9.9.9.9\n",
    }
    assert set(dnsmasq.files(Entries()).values()) == {""}


def test_files_are_written_whole(base_dir: Path) -> None:
    for name in ("web", "other"):
        dnsmasq.write(base_dir, Entries(names={"10.0.0.7": name}))
    assert (base_dir / "hostdir" / "hosts").read_text() == "10.0.0.7\tother\n"
    assert [path.name for path in (base_dir / "hostdir").iterdir()] == ["hosts"]


@pytest.mark.parametrize(("mode", "is_root"), [(0o700, True), (0o755, False)])
def test_without_rights_wherever_its_files_can_be_reached(base_dir: Path, mode: int, is_root: bool) -> None:
    base = base_dir / "b"
    base.mkdir()
    base_dir.chmod(0o755)
    base.chmod(mode)
    (base / "dnsmasq_1").mkdir()
    reached = all(parent.stat().st_mode & 1 for parent in base.resolve().parents)
    assert (dnsmasq.user_for(base / "dnsmasq_1") == "root") == (is_root or not reached)
    assert reached


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"\ndnsmasq: failed to bind: in use\n\n", "failed to bind: in use"),
        (b"dnsmasq: one\ndnsmasq: two\n", "one; two"),
        (b"\x1b[31m\xff", "?[31m\ufffd"),
        (b"x" * 9000, "x" * 400),
        (b"", ""),
    ],
)
def test_what_it_says_is_one_sentence(said: bytes, text: str) -> None:
    assert dnsmasq.told(said) == text


def test_a_range_is_within_the_network_of_the_interface() -> None:
    place = Place("lan0", "10.0.0.0/24")
    dnsmasq.check_range(place, "10.0.0.2", "10.0.0.254")
    with pytest.raises(DnsmasqError, match=r"10.0.0.2 to 10.0.1.2 is not within 10.0.0.0/24, the network of lan0"):
        dnsmasq.check_range(place, "10.0.0.2", "10.0.1.2")


def test_an_address_that_no_interface_has() -> None:
    with pytest.raises(DnsmasqError, match=r"no interface of this host has the address 203.0.113.77"):
        dnsmasq.find_place("203.0.113.77")


# ---------------------------------------------------------------- leases


class Offer:
    """What is read of a lease."""

    def __init__(self, ip: str, mask: str) -> None:
        self.ip = ip
        self.subnet_mask = mask


def offered(ip: str, mask: str) -> str:
    """The address that is taken."""
    lease: Any = Offer(ip, mask)
    return dhcp_client.address_of(lease)


def test_an_address_is_taken_with_its_network() -> None:
    assert offered("10.0.0.5", "255.255.255.0") == "10.0.0.5/24"


@pytest.mark.parametrize(
    ("ip", "mask"),
    [
        ("8.8.8.8", "0.0.0.0"),
        ("10.0.0.5", "128.0.0.0"),
        ("127.0.0.1", "255.0.0.0"),
        ("224.0.0.1", "255.255.255.0"),
        ("0.0.0.0", "255.255.255.0"),
        ("10.0.0.255", "255.255.255.0"),
        ("x", "255.255.255.0"),
        ("10.0.0.5", "255.0.255.0"),
    ],
)
def test_what_can_be_no_address_is_refused(ip: str, mask: str) -> None:
    with pytest.raises(RefusedError, match="the server offers"):
        offered(ip, mask)


@pytest.mark.parametrize(
    ("address", "found"),
    [("10.0.0.5/24", ""), ("192.0.2.5/24", "eth0"), ("192.0.0.1/16", "eth0"), ("10.9.0.1/16", "")],
)
def test_networks_of_other_interfaces_are_theirs(address: str, found: str) -> None:
    others = {"eth0": ["192.0.2.2/255.255.255.0"], "tap": ["10.9.0.3/255.255.0.0"]}
    assert dhcp_client.overlap(address, "tap", others) == found
