"""`bridge`: the bridges of this host, and interfaces of the host that carry their VLANs to the outside."""

from __future__ import annotations

from collections.abc import Iterable

from bus.language.netspec import NetspecError, check_bridge
from bus.messages.network import BridgeInfo, Bridges, GetBridges, TrunkBridge
from cli.answers.response import Row
from cli.commands.declare import Answer, Args, Both, Command, CommandError
from cli.commands.network.vlan_names import VLANS, labels

HEADER = ("bridge", "preexisting", "vlans", "trunks", "tunnels")
TRUNK_S = 60.0


def _list(words: Iterable[str]) -> str:
    return f"[{' '.join(words)}]"


def bridge_list(both: Both, args: Args) -> Answer:
    """A row for each of Bridges."""
    names = labels(both.also)
    bridges: Bridges = both.reply

    def row(bridge: BridgeInfo) -> Row:
        vlans = (names.get(number, str(number)) for number in bridge.vlans)
        return bridge.name, "false", _list(vlans), _list(bridge.trunks), _list(())

    return Answer(header=HEADER, rows=[row(bridge) for bridge in bridges.bridges])


def trunk_request(args: Args) -> TrunkBridge:
    """Plug in or take out; raises CommandError."""
    bridge, interface = args.text("bridge"), args.text("interface")
    try:
        check_bridge(bridge)
    except NetspecError as error:
        raise CommandError(str(error)) from error
    return TrunkBridge(bridge=bridge, interface=interface, remove=args.has("notrunk"), force=args.has("force"))


COMMANDS = (
    Command(
        patterns=("bridge",),
        help_short="list bridges, connect them with the outside",
        help_long="""\
Bridges come into being with the first interface that is plugged into them, and go
with the last one. They belong to all namespaces. What is plugged into the same
VLAN of the same bridge hears each other.

`bridge` alone lists them with the VLANs that are in use.

	bridge trunk mega_bridge eth1      carry its VLANs to the outside
	bridge notrunk mega_bridge eth1    give the interface back to the host""",
        to="network",
        request=lambda args: GetBridges(),
        answer=bridge_list,
        also=VLANS,
    ),
    Command(
        patterns=("bridge <trunk,> <bridge> <interface> [force,]",),
        help_short="plug an interface of the host into a bridge",
        help_long="""\
The interface carries the traffic of all VLANs of the bridge, with their tags
(802.1Q). The host itself cannot use it meanwhile: while it is plugged in, it is
not among the host's interfaces.

The interface that the host reaches the world through is refused, unless `force`
follows: the host would lose that connection.""",
        to="network",
        request=trunk_request,
        timeout_s=TRUNK_S,
        completers={"bridge": "bridge"},
    ),
    Command(
        patterns=("bridge <notrunk,> <bridge> <interface>",),
        help_short="take an interface of the host out of a bridge",
        to="network",
        request=trunk_request,
        timeout_s=TRUNK_S,
        completers={"bridge": "bridge", "interface": "trunk"},
    ),
)
