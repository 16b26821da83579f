"""`tap`: interfaces of the host that are plugged into VLANs, so that the host and its guests reach each other."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator

from bus.errors import BusError, OutcomeUnknownError
from bus.language.netspec import UNPLUGGED, NetspecError, check_bridge, check_vlan
from bus.messages.base import WILDCARD
from bus.messages.network import DEFAULT_BRIDGE, CreateTap, DeleteTaps, GetHostTaps, HostTaps, InterfaceReport
from bus.messages.vlan import DISCONNECTED
from cli.answers.response import Group, Response
from cli.commands.declare import Answer, Args, Both, Call, Command, CommandError
from cli.commands.network.vlan_names import VLANS, give_back, labels, look_up

HEADER = ("bridge", "tap", "vlan", "address")
CREATE_S = 60.0
"""A tap waits while the interfaces of a large launch are made."""


def tap_list(both: Both, args: Args) -> Answer:
    """A row for each of HostTaps."""
    names = labels(both.also)
    taps: HostTaps = both.reply
    rows = [(tap.bridge, tap.name, names.get(tap.vlan, str(tap.vlan)), tap.address) for tap in taps.taps]
    return Answer(header=HEADER, rows=rows)


def checked_address(text: str) -> str:
    """An address with its prefix length, that of a single host if none was given; raises CommandError."""
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError:
        expected = "expected one such as 10.0.0.1/24"
        raise CommandError(f"`{text[:80]}` is no address with a prefix length: {expected}") from None


def _request(args: Args, vlan: int) -> CreateTap:
    address = checked_address(args.text("ip")) if args.has("ip") else ""
    return CreateTap(
        vlan=vlan,
        bridge=args.text("bridge", DEFAULT_BRIDGE),
        name=args.text("tap"),
        address=address,
        dhcp=args.has("dhcp"),
    )


async def _create(call: Call) -> AsyncIterator[Group]:
    """The VLAN is looked up last, so that a mistake in another word gives no number to a name."""
    text = call.args.text("vlan")
    try:
        check_vlan(text)
        request = _request(call.args, DISCONNECTED)
        check_bridge(request.bridge)
        if call.args.has("tap"):
            check_bridge(request.name, "tap")
    except NetspecError as error:
        raise CommandError(str(error)) from error
    namespace, engine = call.session.namespace, call.engine
    (vlan,) = await look_up(call, [text])
    if vlan.number == DISCONNECTED:
        raise CommandError(f"a tap is plugged into a VLAN, it cannot be {UNPLUGGED}")
    try:
        request = _request(call.args, vlan.number)
        made = await engine.ask(f"network@{engine.host}", request, timeout_s=CREATE_S, namespace=namespace)
    except OutcomeUnknownError:
        raise
    except BusError:
        await give_back(call, [vlan])
        raise
    yield Group([Response(engine.host, "\n".join(tap.name for tap in made.taps))])


def _delete(args: Args) -> DeleteTaps:
    return DeleteTaps(name=args.text("tap", WILDCARD))


def deleted(reply: InterfaceReport, args: Args) -> Answer:
    """Only what went wrong."""
    return Answer(error="\n".join(reply.errors))


COMMANDS = (
    Command(
        patterns=("tap",),
        help_short="list, make and remove interfaces of the host",
        help_long="""\
A host tap is an interface of the host that is plugged into a VLAN. `tap` alone
lists those of the namespace, with bridge, VLAN and address.

	tap create LAN                    answers with the name of the new interface
	tap create LAN name foo           chooses the name
	tap create LAN ip 10.0.0.1/24     gives it an address
	tap create LAN dhcp               has a server in the VLAN give it one
	tap create 100 bridge br1         on another bridge than mega_bridge
	tap create LAN bridge br1 ip 10.0.0.1/24 foo

A tap that cannot get its address is not made. Host taps end with `tap delete`,
`clear tap`, and with their namespace.""",
        to="network",
        request=lambda args: GetHostTaps(),
        answer=tap_list,
        also=VLANS,
    ),
    Command(
        patterns=(
            "tap <create,> <vlan>",
            "tap <create,> <vlan> name <tap>",
            "tap <create,> <vlan> <dhcp,> [tap]",
            "tap <create,> <vlan> ip <ip with mask> [tap]",
            "tap <create,> <vlan> bridge <bridge>",
            "tap <create,> <vlan> bridge <bridge> name [tap]",
            "tap <create,> <vlan> bridge <bridge> <dhcp,> [tap]",
            "tap <create,> <vlan> bridge <bridge> ip <ip with mask> [tap]",
        ),
        help_short="plug a new interface of the host into a VLAN",
        help_long="""\
Answers with its name, which is the next free mega_tapN unless one is given. An
address without a mask is that of a single host.

With `dhcp` the address is leased from a DHCP server in the VLAN, and the lease is
renewed; without an answer within 20 seconds there is no tap. Routes and name servers
that the server offers are not taken, nor an address in a network that another
interface of the host is in.""",
        run=_create,
        completers={"vlan": "vlan", "bridge": "bridge"},
    ),
    Command(
        patterns=(f"tap <delete,> <tap or {WILDCARD}>", "clear tap"),
        help_short="remove interfaces of the host",
        help_long="Removes one host tap of the namespace, or all of them, with the mirrors that end in them.",
        to="network",
        request=_delete,
        answer=deleted,
        timeout_s=CREATE_S,
        completers={"tap": "host_tap_target"},
    ),
)
