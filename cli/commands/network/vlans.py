"""`vlans`: names for VLANs, and where their numbers come from."""

from __future__ import annotations

from typing import Any

from bus.language.netspec import SEPARATOR
from bus.language.vm_names import is_integer
from bus.messages.base import WILDCARD, Ack, Request
from bus.messages.vlan import AddVlan, BlacklistVlan, ClearVlans, GetVlans, SetVlanRange, VlanTable
from cli.commands.declare import LIFECYCLE_S, Answer, Args, Command, CommandError

MAX_DIGITS = 9
NO_INTEGER = "expected integer VLAN"
NO_INTEGERS = "expected integer values for min/max"


def _integer(text: str, sentence: str) -> int:
    if not is_integer(text) or len(text) > MAX_DIGITS:
        raise CommandError(sentence)
    return int(text)


def alias_list(reply: VlanTable, args: Args) -> Answer:
    """The aliases of the namespace, without its name."""
    own = f"{reply.namespace}{SEPARATOR}"
    names = sorted(name for name in reply.aliases if name.startswith(own))
    rows = [(name.removeprefix(own), str(reply.aliases[name])) for name in names]
    return Answer(header=("alias", "vlan"), rows=rows)


def _add(args: Args) -> AddVlan:
    return AddVlan(alias=args.text("alias"), number=_integer(args.text("vlan"), NO_INTEGER))


def range_request(args: Args) -> Request[Any]:
    """A new range, or the question for the present one; raises CommandError."""
    if not args.has("min"):
        return GetVlans()
    return SetVlanRange(
        minimum=_integer(args.text("min"), NO_INTEGERS), maximum=_integer(args.text("max"), NO_INTEGERS)
    )


def range_answer(reply: VlanTable | Ack, args: Args) -> Answer:
    """One row, if the namespace has a range of its own; nothing after a change."""
    if isinstance(reply, Ack):
        return Answer()
    own = reply.ranges.get(reply.namespace)
    rows = [(str(own.minimum), str(own.maximum), str(own.next_))] if own else []
    return Answer(header=("min", "max", "next"), rows=rows)


def blacklist_request(args: Args) -> Request[Any]:
    """One more number, or the question which there are; raises CommandError."""
    if not args.has("vlan"):
        return GetVlans()
    return BlacklistVlan(number=_integer(args.text("vlan"), NO_INTEGER))


def blacklist_answer(reply: VlanTable | Ack, args: Args) -> Answer:
    """A row for each number; nothing after a change."""
    if isinstance(reply, Ack):
        return Answer()
    return Answer(header=("vlan",), rows=[(str(number),) for number in reply.blacklist])


COMMANDS = (
    Command(
        patterns=("vlans",),
        help_short="list, name, reserve and ban VLANs",
        help_long="""\
Wherever a VLAN is expected, a name does as well as a number. A name that is new
gets the next free number. Names belong to a namespace; NAMESPACE//NAME is the
one of another namespace, whose VMs are joined that way.

`vlans` alone lists the names of the namespace. The other forms:

	vlans add LAN 100      gives a certain number to a name
	vlans range            the numbers that names of this namespace get
	vlans range 100 200    reserves them, from 100 to 199, for this namespace
	vlans blacklist 100    never give this number to a name

In the default namespace the range is that of all namespaces without one of their
own; what others have reserved is left out of it. A number that somebody types is
never given to a name later. VLAN 0 means no tag: such an interface sees the
traffic of all VLANs of its bridge.

All names are in the file `vlans` of the base directory, too.""",
        to="namespace",
        request=lambda args: GetVlans(),
        answer=alias_list,
    ),
    Command(
        patterns=("vlans <add,> <alias> <vlan>",),
        help_short="give a certain number to the name of a VLAN",
        to="namespace",
        request=_add,
    ),
    Command(
        patterns=("vlans <range,>", "vlans <range,> <min> <max>"),
        help_short="show or reserve the VLANs of the namespace",
        help_long="""\
From MIN up to but without MAX. Names that have a number keep it.""",
        to="namespace",
        request=range_request,
        answer=range_answer,
    ),
    Command(
        patterns=("vlans <blacklist,> [vlan]",),
        help_short="list or add numbers that no name of a VLAN gets",
        to="namespace",
        request=blacklist_request,
        answer=blacklist_answer,
    ),
    Command(
        patterns=("clear vlans [prefix]",),
        help_short="forget names of VLANs",
        help_long=f"""\
Forgets all names of the namespace and its range, or only the names that begin
with a prefix; NAMESPACE// and NAMESPACE//PREFIX are those of another namespace.
`clear vlans {WILDCARD}` forgets the VLANs of all namespaces, the blacklist included.

Interfaces stay in the VLANs that they are in. A number that is in use is given
to a new name only when no other is left.""",
        to="namespace",
        request=lambda args: ClearVlans(prefix=args.text("prefix")),
        timeout_s=LIFECYCLE_S,
        completers={"prefix": "vlan_prefix"},
    ),
)
