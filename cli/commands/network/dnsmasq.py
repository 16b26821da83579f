"""`dnsmasq`: servers that give guests addresses (DHCP) and tell them names (DNS)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bus.messages.base import WILDCARD
from bus.messages.dnsmasq import (
    EVERY,
    ConfigureDnsmasq,
    Dnsmasq,
    Dnsmasqs,
    GetDnsmasqs,
    KillDnsmasqs,
    StartDnsmasq,
    UnconfigureDnsmasq,
)
from cli.answers.response import Row
from cli.commands.declare import Answer, Args, Command, CommandError

HEADER = ("id", "address", "min", "max", "path", "pid")
START_S = 60.0
MAX_DIGITS = 9
INVALID_ID = "invalid dnsmasq ID"
ONE = f"<id or {WILDCARD}>"


def number_of(text: str) -> int:
    """The number of a server, or that for all; raises CommandError."""
    if text == WILDCARD:
        return EVERY
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise CommandError(f"{INVALID_ID} `{text[:80]}`: expected a number that `dnsmasq` lists, or `{WILDCARD}`")
    return int(text)


def server_list(reply: Dnsmasqs, args: Args) -> Answer:
    """A row for each of Dnsmasqs."""
    rows = [(str(one.id), one.address, one.low, one.high, one.path, str(one.pid)) for one in reply.servers]
    return Answer(header=HEADER, rows=rows)


def _start(args: Args) -> StartDnsmasq:
    address, low, high = (args.text(key) for key in ("listen", "low", "high"))
    return StartDnsmasq(address=address, low=low, high=high, config=args.text("config"))


def entries(header: Row, rows_of: Callable[[Dnsmasq], Iterable[Row]]) -> Callable[[Dnsmasqs, Args], Answer]:
    """Makes the answer that lists one kind of entry, of one server or of all."""

    def answer(reply: Dnsmasqs, args: Args) -> Answer:
        number = number_of(args.text("id"))
        found = [one for one in reply.servers if number in (EVERY, one.id)]
        if not found and number != EVERY:
            return Answer(error=INVALID_ID)
        return Answer(header=header, rows=[(str(one.id), *row) for one in found for row in rows_of(one)])

    return answer


def _configure(args: Args) -> ConfigureDnsmasq:
    return ConfigureDnsmasq(
        id=number_of(args.text("id")),
        mac=args.text("mac"),
        ip=args.text("address"),
        name=args.text("hostname"),
        option=args.text("optionstring"),
        upstream=args.text("nameserver"),
    )


def _unconfigure(args: Args) -> UnconfigureDnsmasq:
    kind = args.chosen("ip", "dns", "options", "upstream")
    return UnconfigureDnsmasq(id=number_of(args.text("id")), kind=kind, entry=args.text("entry"))


def _listing(patterns: tuple[str, ...], what: str, answer: Callable[[Dnsmasqs, Args], Answer]) -> Command:
    return Command(
        patterns=patterns,
        help_short=f"list {what}",
        to="network",
        request=lambda args: GetDnsmasqs(),
        answer=answer,
        completers={"id": "dnsmasq"},
    )


COMMANDS = (
    Command(
        patterns=("dnsmasq",),
        help_short="give guests addresses and tell them names: list the servers",
        help_long="""\
A dnsmasq server gives addresses by DHCP to the guests of one VLAN, and answers
their questions for names. It runs on the host and needs an address there, which a
host tap has:

	tap create LAN ip 10.0.0.1/24
	dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254
	dnsmasq configure 0 ip 00:16:3e:00:00:01 10.0.0.7
	dnsmasq configure 0 dns 10.0.0.7 web

Guests that tell their name by DHCP are known under it. `dnsmasq` alone lists the
servers of all namespaces. One that has ended by itself has the pid -1; the log
says when.

A server ends with `dnsmasq kill`, with its host tap, so with the namespace of that
tap, with `clear all`, and with `minibus down --guests`.""",
        to="network",
        request=lambda args: GetDnsmasqs(),
        answer=server_list,
    ),
    Command(
        patterns=(
            "dnsmasq <start,> <listen address> <low dhcp range> <high dhcp range> [config]",
            "dnsmasq <start,> <config>",
        ),
        help_short="start a server for DHCP and DNS",
        help_long="""\
It listens on an address of this host and gives the addresses from LOW to HIGH, which
must be of the network of that address. CONFIG is the absolute path of a
configuration file for dnsmasq(8), which is read as well. With a configuration file
alone, that says everything.

No names outside are looked up unless `dnsmasq configure ID dns upstream` says
where, and none of the host's own names are told. If the server cannot serve, that
is the error, and nothing of it is left.""",
        to="network",
        request=_start,
        timeout_s=START_S,
    ),
    Command(
        patterns=(f"dnsmasq <kill,> {ONE}",),
        help_short="end servers",
        help_long="Ends one server by its number, or all of them, and removes their files.",
        to="network",
        request=lambda args: KillDnsmasqs(id=number_of(args.text("id"))),
        completers={"id": "dnsmasq"},
    ),
    _listing(
        (f"dnsmasq <configure,> {ONE} <ip,>",),
        "addresses that servers keep for certain guests",
        entries(("id", "mac", "ip"), lambda one: one.fixed.items()),
    ),
    _listing(
        (f"dnsmasq <configure,> {ONE} <dns,>",),
        "names that servers know",
        entries(("id", "ip", "hostname"), lambda one: one.names.items()),
    ),
    _listing(
        (f"dnsmasq <configure,> {ONE} <dns,> <upstream,>",),
        "where servers ask for names that they do not know",
        entries(("id", "upstream server"), lambda one: [(one.upstream,)] if one.upstream else []),
    ),
    _listing(
        (f"dnsmasq <configure,> {ONE} <options,>",),
        "DHCP options of servers",
        entries(("id", "option"), lambda one: [(option,) for option in one.options]),
    ),
    Command(
        patterns=(
            f"dnsmasq <configure,> {ONE} <ip,> <mac> <address>",
            f"dnsmasq <configure,> {ONE} <dns,> <address> <hostname>",
            f"dnsmasq <configure,> {ONE} <dns,> <upstream,> server <nameserver>",
            f"dnsmasq <configure,> {ONE} <options,> <optionstring>",
        ),
        help_short="tell servers about addresses, names and options",
        help_long="""\
	dnsmasq configure 0 ip 00:16:3e:00:00:01 10.0.0.7    keep an address for a guest
	dnsmasq configure 0 dns 10.0.0.7 web                 a name
	dnsmasq configure all dns upstream server 9.9.9.9    ask there for other names
	dnsmasq configure 0 options option:router,10.0.0.1   a DHCP option

Each address has one name, each hardware address one address; a new one takes the
place of the old one. Options are those of `--dhcp-option` of dnsmasq(8). Servers
know it at once. `clear dnsmasq` takes entries away.""",
        to="network",
        request=_configure,
        completers={"id": "dnsmasq"},
    ),
    Command(
        patterns=(f"clear dnsmasq {ONE} <ip,dns,options,upstream> [entry]",),
        help_short="take entries away from servers",
        help_long="""\
	clear dnsmasq 0 ip 00:16:3e:00:00:01    the address that is kept for a guest
	clear dnsmasq 0 dns 10.0.0.7            the name of an address
	clear dnsmasq 0 options                 all options

Without an entry all of the kind go.""",
        to="network",
        request=_unconfigure,
        completers={"id": "dnsmasq"},
    ),
)
