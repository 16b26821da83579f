"""Commands on VMs: launch, life cycle, inspection, tags."""

from __future__ import annotations

from typing import Any

from bus.messages.base import WILDCARD, Request
from bus.messages.cc import GetConnectedGuests
from bus.messages.namespace import LaunchQueue, QueueVms
from bus.messages.network import GetInterfaces, GetRates
from bus.messages.vm import (
    MAX_WINDOW_S,
    ClearVmTags,
    FlushVms,
    GetVms,
    GuestKind,
    KillVms,
    StartVms,
    StopVms,
    TagVms,
    TopVms,
)
from cli.commands.declare import LIFECYCLE_S, Also, Args, Command, CommandError, Scope, report
from cli.commands.network.vlan_names import VLANS
from cli.commands.vm.rows import vm_info, vm_tags, vm_top

TARGET = {"target": "vm_target"}

TARGET_HELP = """\
A target is a name, an id, a comma separated list of them, a range such as web[1-3,7], or `all`."""


def _launch(args: Args) -> Request[Any]:
    kind = args.chosen(*GuestKind)
    return QueueVms(kind=GuestKind(kind), names=args.text("name"), config=_config(args)) if kind else LaunchQueue()


def _config(args: Args) -> str:
    """Which saved configuration is meant, empty for the current one; raises CommandError if the name is empty."""
    if args.has("config") and not args.text("config"):
        raise CommandError("the name of a saved configuration cannot be empty")
    return args.text("config")


def _top(args: Args) -> Request[Any]:
    seconds = args.text("seconds", "1")
    if not (seconds.isascii() and seconds.isdecimal()) or int(seconds[:9]) > MAX_WINDOW_S:
        raise CommandError(f"invalid number of seconds `{seconds[:80]}`: expected 0 to {MAX_WINDOW_S}")
    return TopVms(window_s=float(seconds))


def _tag(args: Args) -> Request[Any]:
    if args.text("key") == WILDCARD:
        raise CommandError("cannot assign to wildcard")
    return TagVms(target=args.text("target"), key=args.text("key"), value=args.text("value"))


COMMANDS = (
    Command(
        patterns=("vm launch", *(f"vm launch <{kind},> <name or count> [config]" for kind in GuestKind)),
        help_short="launch VMs in a paused state, or the queued ones",
        help_long="""\
Launch one or more VMs with the current configuration, `vm config`. They wait in
state BUILDING until `vm start`. Give a name, a list of names and ranges, or how
many to launch with generated names:

	vm launch container web
	vm launch container web[1-3],db
	vm launch container 10

The name of a saved configuration, `vm config save`, may follow; it is used in
place of the current one, which stays as it is:

	vm launch container web[1-3] small

The command returns when every VM has been made, and says which could not be.
While `ns queueing` is on, VMs are only queued; `vm launch` alone launches them.""",
        to="namespace",
        request=_launch,
        answer=report,
        timeout_s=LIFECYCLE_S,
        completers={"config": "saved_config"},
        once=True,
    ),
    Command(
        patterns=("vm start <target>",),
        help_short="start VMs that are building, paused or ended",
        help_long=f"""\
{TARGET_HELP}

Runs VMs in state BUILDING and resumes those in state PAUSED. A VM in state QUIT
or ERROR is launched again with its original configuration if it is named, not
for `all`.""",
        scope=Scope.TARGETED,
        to="vm",
        request=lambda args: StartVms(target=args.text("target")),
        answer=report,
        timeout_s=LIFECYCLE_S,
        completers={"target": "startable_target"},
    ),
    Command(
        patterns=("vm stop <target>",),
        help_short="pause running VMs",
        help_long=f"{TARGET_HELP}\n\nThe VMs stand still until `vm start`; they are not shut down.",
        scope=Scope.TARGETED,
        to="vm",
        request=lambda args: StopVms(target=args.text("target")),
        answer=report,
        timeout_s=LIFECYCLE_S,
        completers={"target": "running_target"},
    ),
    Command(
        patterns=("vm kill <target>",),
        help_short="end VMs at once",
        help_long=f"{TARGET_HELP}\n\nKilled VMs stay listed in state QUIT until `vm flush`.",
        scope=Scope.TARGETED,
        to="vm",
        request=lambda args: KillVms(target=args.text("target")),
        answer=report,
        timeout_s=LIFECYCLE_S,
        completers=TARGET,
    ),
    Command(
        patterns=("vm flush [target]",),
        help_short="forget VMs that have ended",
        help_long="Removes VMs in state QUIT or ERROR, and all that they left on the host.",
        scope=Scope.BROADCAST,
        to="vm",
        request=lambda args: FlushVms(target=args.text("target", WILDCARD)),
        answer=report,
        timeout_s=LIFECYCLE_S,
        completers=TARGET,
    ),
    Command(
        patterns=("vm info [summary,]",),
        help_short="print information about VMs",
        help_long="""\
One row for each VM of the namespace. With `summary` only a few columns. Choose
others with .columns and rows with .filter:

	.columns name,state .filter state=running vm info""",
        scope=Scope.BROADCAST,
        to="vm",
        request=lambda args: GetVms(),
        also=(
            Also("cc", lambda args: GetConnectedGuests()),
            Also("network", lambda args: GetInterfaces()),
            VLANS,
        ),
        answer=vm_info,
    ),
    Command(
        patterns=("vm top [seconds]",),
        help_short="show how much of the host VMs use",
        help_long="""\
Measures over a window, by default one second. Memory is in MiB, cpu in percent
of one CPU, rx and tx in MB/s from the VM's point of view.""",
        scope=Scope.BROADCAST,
        to="vm",
        request=_top,
        also=Also("network", lambda args: GetRates()),
        answer=vm_top,
        timeout_s=MAX_WINDOW_S + 30.0,
    ),
    Command(
        patterns=("vm tag <target> [key or all]",),
        help_short="display tags of VMs",
        help_long=f"{TARGET_HELP}\n\nShows all tags, or the value of one.",
        scope=Scope.TARGETED,
        to="vm",
        request=lambda args: GetVms(target=args.text("target")),
        answer=vm_tags,
        completers=TARGET,
    ),
    Command(
        patterns=("vm tag <target> <key> <value>",),
        help_short="set a tag of VMs",
        help_long=f"{TARGET_HELP}\n\nTags are pairs of key and value that mean nothing to minibus.",
        scope=Scope.TARGETED,
        to="vm",
        request=_tag,
        answer=report,
        completers=TARGET,
    ),
    Command(
        patterns=("clear vm tag", "clear vm tag <target> [tag]"),
        help_short="remove tags from VMs",
        help_long="Removes one tag of the targets, all their tags, or all tags of all VMs of the namespace.",
        scope=Scope.TARGETED,
        to="vm",
        request=lambda args: ClearVmTags(target=args.text("target", WILDCARD), key=args.text("tag", WILDCARD)),
        answer=report,
        completers=TARGET,
    ),
)
