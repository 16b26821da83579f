"""`dnsmasq`: what is typed, what it asks, how the reply is shown."""

from __future__ import annotations

from typing import Any

import pytest

from bus.messages.base import Ack, Message, Request
from bus.messages.dnsmasq import (
    ConfigureDnsmasq,
    Dnsmasq,
    Dnsmasqs,
    GetDnsmasqs,
    KillDnsmasqs,
    StartDnsmasq,
    UnconfigureDnsmasq,
)
from tests.unit.cli.stand_ins import EngineBench

ONE = Dnsmasq(
    id=0,
    address="10.0.0.1",
    low="10.0.0.2",
    high="10.0.0.9",
    path="/b/d",
    pid=12,
    fixed={"00:16:3e:00:00:01": "10.0.0.7"},
    names={"10.0.0.7": "web"},
    options=("3,10.0.0.1",),
    upstream="9.9.9.9",
)
TWO = Dnsmasq(id=3, config="/etc/own", path="/b/e")


def bench() -> EngineBench:
    """An engine on a host with two servers."""
    servers = Dnsmasqs(servers=(ONE, TWO))
    known: dict[type[Message], Any] = {GetDnsmasqs: servers, StartDnsmasq: servers}
    return EngineBench({**known, **{kind: Ack() for kind in (KillDnsmasqs, ConfigureDnsmasq, UnconfigureDnsmasq)}})


@pytest.mark.parametrize(
    ("line", "header", "rows"),
    [
        (
            "dnsmasq",
            ("id", "address", "min", "max", "path", "pid"),
            [("0", "10.0.0.1", "10.0.0.2", "10.0.0.9", "/b/d", "12"), ("3", "", "", "", "/b/e", "-1")],
        ),
        ("dnsmasq configure all ip", ("id", "mac", "ip"), [("0", "00:16:3e:00:00:01", "10.0.0.7")]),
        ("dnsmasq configure 0 dns", ("id", "ip", "hostname"), [("0", "10.0.0.7", "web")]),
        ("dnsmasq configure 0 dns upstream", ("id", "upstream server"), [("0", "9.9.9.9")]),
        ("dnsmasq configure 0 options", ("id", "option"), [("0", "3,10.0.0.1")]),
        ("dnsmasq configure 3 options", ("id", "option"), []),
    ],
)
async def test_tables(line: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    response = await bench().one(line)
    assert (response.header, response.rows) == (header, rows)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.9", StartDnsmasq(address="10.0.0.1", low="10.0.0.2", high="10.0.0.9")),
        (
            "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.9 /etc/own",
            StartDnsmasq(address="10.0.0.1", low="10.0.0.2", high="10.0.0.9", config="/etc/own"),
        ),
        ("dnsmasq start /etc/own", StartDnsmasq(config="/etc/own")),
        ("dnsmasq kill 3", KillDnsmasqs(id=3)),
        ("dnsmasq kill all", KillDnsmasqs()),
        ("dnsmasq configure 0 ip 1:2 10.0.0.4", ConfigureDnsmasq(id=0, mac="1:2", ip="10.0.0.4")),
        ("dnsmasq configure all dns 10.0.0.4 db", ConfigureDnsmasq(ip="10.0.0.4", name="db")),
        ("dnsmasq configure 0 dns upstream server 1.1.1.1", ConfigureDnsmasq(id=0, upstream="1.1.1.1")),
        ('dnsmasq configure 0 options "tag:a,6,1.1.1.1"', ConfigureDnsmasq(id=0, option="tag:a,6,1.1.1.1")),
        ("clear dnsmasq 0 ip 1:2", UnconfigureDnsmasq(id=0, kind="ip", entry="1:2")),
        ("clear dnsmasq all upstream", UnconfigureDnsmasq(kind="upstream")),
    ],
)
async def test_requests(line: str, request_: Request[Any]) -> None:
    host = bench()
    assert await host.text(line) == ""
    assert host.bus.asked[-1].request == request_
    assert host.bus.asked[-1].to.startswith("network")


@pytest.mark.parametrize("line", ["dnsmasq kill x", "dnsmasq configure -1 ip", "clear dnsmasq 99999999999 dns"])
async def test_what_is_no_number(line: str) -> None:
    error = await bench().error(line)
    assert error.startswith("invalid dnsmasq ID `")
    assert error.endswith("`: expected a number that `dnsmasq` lists, or `all`")


async def test_entries_of_a_server_that_is_not_there() -> None:
    assert await bench().error("dnsmasq configure 7 dns") == "invalid dnsmasq ID"


async def test_numbers_are_completed() -> None:
    host = bench()
    assert await host.engine.suggest("dnsmasq kill ", host.session) == [
        "dnsmasq kill 0 ",
        "dnsmasq kill 3 ",
        "dnsmasq kill all ",
    ]
