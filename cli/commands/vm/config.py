"""`vm config`: the configuration that the next launch copies. Declared from the table of parameters."""

from __future__ import annotations

import textwrap
from typing import Any

from bus.language.vm_config import BOTH, KVM, PARAMS, Param, Shape, layout, show
from bus.messages.base import Ack, Request
from bus.messages.namespace import (
    ClearConfig,
    CloneConfig,
    Draft,
    GetDraft,
    GetSavedConfigs,
    RestoreConfig,
    SaveConfig,
    SavedConfigs,
    SetConfig,
)
from bus.messages.vm import VmConfig
from cli.commands.declare import Answer, Args, Both, Command
from cli.commands.network.vlan_names import VLANS, labels

HELP_WIDTH = 80
MAPS = (Shape.MAP, Shape.PATH_MAP)
NETSPEC_HELP = """\

A netspec is the VLAN that the interface is plugged into, by name or number, with
the bridge before it and a MAC address and a model of card after it, if need be:

	vm config net LAN                          one interface
	vm config net LAN DMZ 100                  three of them
	vm config net LAN,00:16:3e:00:00:01        with this MAC address
	vm config net LAN,virtio-net-pci           with this card; for KVM guests only
	vm config net br1,LAN                      on another bridge than mega_bridge
	vm config net br1,LAN,00:16:3e:00:00:01,e1000
	vm config net disconnected                 plugged in nowhere

The list replaces the earlier one; a mistake in one of them changes nothing. A name
that is new gets the next free number, see `help vlans`. Without a MAC address each
VM gets one of its own. In a container the interfaces are veth0, veth1, and so on.
`vm net` changes the interfaces of VMs that exist, `clear vm config net` empties the
list."""


def _patterns(param: Param, name: str) -> tuple[str, ...]:
    """What may be typed to read or set a parameter."""
    match param.shape:
        case Shape.BOOLEAN:
            return (f"vm config {name} [true,false]",)
        case Shape.NETSPECS:
            return (f"vm config {name} [netspec]...",)
        case Shape.WORDS | Shape.PATHS:
            return (f"vm config {name} [value]...",)
        case Shape.MAP | Shape.PATH_MAP:
            return (f"vm config {name} [key]", f"vm config {name} <key> <value>")
        case Shape.PAIRS:
            return (f"vm config {name}", f"vm config {name} <match> <replacement>")
        case _:
            return (f"vm config {name} [value]",)


def typed_words(param: Param, args: Args) -> tuple[str, ...]:
    """The words of a new value; empty if the current one is asked for."""
    match param.shape:
        case Shape.BOOLEAN:
            chosen = args.chosen("true", "false")
            return (chosen,) if chosen else ()
        case Shape.NETSPECS:
            return args.words("netspec")
        case Shape.WORDS | Shape.PATHS:
            return args.words("value")
        case Shape.MAP | Shape.PATH_MAP:
            return (args.text("key"), args.text("value")) if args.has("value") else ()
        case Shape.PAIRS:
            return (args.text("match"), args.text("replacement")) if args.has("match") else ()
        case _:
            return (args.text("value"),) if args.has("value") else ()


def _kinds(param: Param) -> str:
    if param.kinds == BOTH:
        return "Counts for both kinds of VM."
    return f"Counts for {'KVM guests' if param.kinds == KVM else 'containers'}."


def _default(param: Param) -> str:
    shown = show(VmConfig(), param.name)
    return f"The default is {shown}." if shown else "By default it is empty."


def _help(param: Param) -> str:
    text = textwrap.fill(f"Sets or shows {param.help}. {_kinds(param)} {_default(param)}", HELP_WIDTH)
    return f"{text}\n{NETSPEC_HELP}" if param.shape is Shape.NETSPECS else text


def _completers(param: Param) -> dict[str, str]:
    if param.shape is Shape.NETSPECS:
        return {"netspec": "netspec"}
    return {"value": "path"} if param.shape in (Shape.PATH, Shape.PATHS, Shape.PATH_MAP) else {}


def _param_command(param: Param) -> Command:
    def request(args: Args) -> Request[Any]:
        words = typed_words(param, args)
        return SetConfig(param=param.name, words=words) if words else GetDraft()

    def answer(both: Both, args: Args) -> Answer:
        if not isinstance(both.reply, Draft):
            return Answer()
        return Answer(show(both.reply.config, param.name, args.text("key"), labels(both.also)))

    return Command(
        patterns=tuple(pattern for name in param.names for pattern in _patterns(param, name)),
        help_short=f"configure {param.help}",
        help_long=_help(param),
        to="namespace",
        request=request,
        answer=answer if param.shape is Shape.NETSPECS else lambda reply, args: answer(Both(reply, None), args),
        also=VLANS if param.shape is Shape.NETSPECS else None,
        completers=_completers(param),
    )


def _clear_command(param: Param) -> Command:
    patterns = [f"clear vm config {name}" for name in param.names]
    if param.shape in MAPS:
        patterns = [f"{pattern} [key]" for pattern in patterns]
    return Command(
        patterns=tuple(patterns),
        help_short=f"back to the default: {param.help}",
        to="namespace",
        request=lambda args: ClearConfig(param=param.name, key=args.text("key")),
    )


def _show_all(both: Both, args: Args) -> Answer:
    return Answer(layout(both.reply.config, labels=labels(both.also)))


def _restore(args: Args) -> Request[Any]:
    return RestoreConfig(name=args.text("name")) if args.has("name") else GetSavedConfigs()


def _restored(reply: SavedConfigs | Ack, args: Args) -> Answer:
    if isinstance(reply, Ack):
        return Answer()
    return Answer("\n".join(reply.names)) if reply.names else Answer(error="no vm configs saved")


COMMANDS = (
    Command(
        patterns=("vm config",),
        help_short="display the configuration for the next launch",
        help_long="""\
Shows every parameter. Change one with `vm config PARAMETER VALUE`. VMs that have
been launched keep the configuration that they were launched with.""",
        to="namespace",
        request=lambda args: GetDraft(),
        answer=_show_all,
        also=VLANS,
    ),
    *(_param_command(param) for param in PARAMS),
    Command(
        patterns=("vm config save <name>",),
        help_short="keep a copy of the configuration under a name",
        help_long="An older copy of that name is overwritten.",
        to="namespace",
        request=lambda args: SaveConfig(name=args.text("name")),
    ),
    Command(
        patterns=("vm config restore [name]",),
        help_short="use a saved configuration, or list what is saved",
        to="namespace",
        request=_restore,
        answer=_restored,
        completers={"name": "saved_config"},
    ),
    Command(
        patterns=("vm config clone <vm>",),
        help_short="use the configuration of a VM",
        help_long="Copies the configuration of a VM, named by its name or id, without its UUID.",
        to="namespace",
        request=lambda args: CloneConfig(vm=args.text("vm")),
        completers={"vm": "vm"},
    ),
    Command(
        patterns=("clear vm config",),
        help_short="back to the default configuration",
        help_long="""\
Every parameter, or the one that is named, becomes what it is in a new namespace.
VMs that exist and saved configurations stay as they are.""",
        to="namespace",
        request=lambda args: ClearConfig(),
    ),
    *(_clear_command(param) for param in PARAMS),
)
