"""`cc tunnel` and `cc rtunnel`: TCP connections into guests and out of them, without a network."""

from __future__ import annotations

from bus.messages.tunnel import CloseTunnel, GetTunnels, OpenTunnel, TunnelInfo, TunnelList
from cli.answers.printable import escaped
from cli.answers.response import Row
from cli.commands.cc.posting import port_of
from cli.commands.declare import Answer, Args, Command, CommandError, Scope

HEADER = ("vm", "id", "src port", "dst", "dst port", "reverse", "connections")


def tunnel_row(tunnel: TunnelInfo) -> Row:
    """One tunnel."""
    ports = (str(tunnel.source), escaped(tunnel.host), str(tunnel.port))
    return (tunnel.vm, str(tunnel.id), *ports, str(tunnel.reverse).lower(), str(tunnel.connections))


def tunnel_table(reply: TunnelList, args: Args) -> Answer:
    """By VM and id."""
    return Answer(header=HEADER, rows=[tunnel_row(tunnel) for tunnel in reply.tunnels])


def open_tunnel(args: Args) -> OpenTunnel:
    """To one guest; raises CommandError."""
    return OpenTunnel(
        target=args.text("vm"),
        source=port_of(args.text("src"), "src"),
        host=args.text("host"),
        port=port_of(args.text("dst"), "dst"),
    )


def open_reverse(args: Args) -> OpenTunnel:
    """From all guests that the filter means; raises CommandError."""
    return OpenTunnel(
        source=port_of(args.text("src"), "src"),
        host=args.text("host"),
        port=port_of(args.text("dst"), "dst"),
        reverse=True,
    )


def close_tunnel(args: Args) -> CloseTunnel:
    """Raises CommandError."""
    number = args.text("id")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise CommandError(f"tunnels are numbered, and {number[:80]} is no number: `cc tunnel list all` shows them")
    return CloseTunnel(target=args.text("vm"), id=int(number))


COMMANDS = (
    Command(
        patterns=("cc <tunnel,> <list,> <vm name, uuid, or all>",),
        help_short="list tunnels into guests and out of them",
        scope=Scope.TARGETED,
        to="cc",
        request=lambda args: GetTunnels(target=args.text("vm")),
        answer=tunnel_table,
        completers={"vm": "vm"},
    ),
    Command(
        patterns=("cc <tunnel,> <close,> <vm name or uuid> <id>",),
        help_short="close a tunnel, with the connections in it",
        scope=Scope.TARGETED,
        to="cc",
        request=close_tunnel,
        completers={"vm": "vm"},
    ),
    Command(
        patterns=("cc <tunnel,> <vm name or uuid> <src port> <host> <dst port>",),
        help_short="carry connections from this host into a guest",
        help_long="""\
Listens on port SRC of this host, on loopback. Each connection is carried to the
guest's agent, which connects to HOST and port DST; names are looked up there.

	cc tunnel web1 8080 127.0.0.1 80""",
        scope=Scope.TARGETED,
        to="cc",
        request=open_tunnel,
        completers={"vm": "vm"},
        free_text=True,
    ),
    Command(
        patterns=("cc <rtunnel,> <src port> <host> <dst port>",),
        help_short="carry connections from guests to this host",
        help_long="""\
Every guest that the filter means now listens on its port SRC, on loopback. Each
connection is carried to this host, which connects to HOST and port DST.""",
        scope=Scope.BROADCAST,
        to="cc",
        request=open_reverse,
        free_text=True,
    ),
)
