"""`qos`: limits and faults for the traffic that VMs receive."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from bus.language.shaping_text import delay_text, rate_text
from bus.messages.base import WILDCARD
from bus.messages.network import MAX_DELAY_US, MAX_JITTER_US, MAX_RATE_BPS, ShapeInterfaces, Shaping
from bus.messages.vm import VmInfo
from cli.answers.duration import parse_duration
from cli.answers.response import Group
from cli.commands.declare import Answer, Args, Call, Command, CommandError, Scope
from cli.commands.vm.life_cycle import TARGET_HELP
from cli.commands.vm.targets import interface_report, nic_of, on_targets

ALL: Final = -1
SHAPE_S: Final = 120.0
"""Hundreds of interfaces, behind a launch."""
MAX_DIGITS: Final = 9
RATES_BPS: Final = {"kbit": 1000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_MILLISECONDS: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?")


def index_of(text: str, *, or_all: bool = True) -> int:
    """Number of an interface, or ALL where that makes sense; raises CommandError."""
    if text == WILDCARD and or_all:
        return ALL
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        more = f", or say {WILDCARD}" if or_all else ""
        raise CommandError(f"invalid tap index `{text[:80]}`: interfaces are numbered 0, 1, 2, ...{more}")
    return int(text)


def percent_of(text: str, what: str) -> float:
    """From 0 up to but without 100; raises CommandError."""
    try:
        percent = float(text)
    except ValueError:
        percent = math.nan
    if not 0 <= percent < 100:
        raise CommandError(f"invalid {what}: `{text[:80]}`: it is a percentage, 0 or more and less than 100")
    return percent


def time_of(text: str, what: str, most_us: int) -> int:
    """Microseconds; a bare number is milliseconds. Raises CommandError."""
    try:
        time_s = float(text) / 1000 if _MILLISECONDS.fullmatch(text) else parse_duration(text)
    except ValueError:
        raise CommandError(f"invalid duration: `{text[:80]}`: say for instance 100ms or 1.5s") from None
    if time_s < 0:
        raise CommandError(f"{what} cannot be negative")
    if time_s * 1e6 > most_us:
        raise CommandError(f"invalid duration: `{text[:80]}`: a {what} is at most {delay_text(most_us)}")
    return math.ceil(round(time_s * 1e6, 3))


def rate_of(text: str, unit: str) -> int:
    """Bits a second; raises CommandError."""
    rate_bps = int(text) * RATES_BPS[unit] if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else 0
    if not 0 < rate_bps <= MAX_RATE_BPS:
        most = rate_text(MAX_RATE_BPS)
        raise CommandError(f"invalid rate: `{text[:80]}`: it is a whole number, from 1kbit to {most}")
    return rate_bps


def shaping_of(args: Args) -> Shaping:
    """The constraint that was typed; raises CommandError."""
    match args.chosen("loss", "corrupt", "delay", "jitter", "rate"):
        case "loss":
            return Shaping(loss_percent=percent_of(args.text("percent"), "loss"))
        case "corrupt":
            return Shaping(corrupt_percent=percent_of(args.text("percent"), "corruption"))
        case "delay":
            return Shaping(delay_us=time_of(args.text("duration"), "delay", MAX_DELAY_US))
        case "jitter":
            return Shaping(jitter_us=time_of(args.text("duration"), "jitter", MAX_JITTER_US))
        case _:
            text, unit = args.text("bw"), args.chosen(*RATES_BPS)
            rate_bps = rate_of(text, unit)
            return Shaping(rate_bps=rate_bps, rate_text=f"{int(text)}{unit}")


FIELDS: Final = {"loss": "loss_percent", "corrupt": "corrupt_percent", "delay": "delay_us", "jitter": "jitter_us"}
"""Words of the command and the fields of Shaping that they set; nothing is no constraint, so it takes it away."""


async def _add(call: Call) -> AsyncIterator[Group]:
    index, shaping = index_of(call.args.text("interface")), shaping_of(call.args)
    without = tuple(
        name for word, name in FIELDS.items() if word == call.args.chosen(*FIELDS) and not getattr(shaping, name)
    )
    yield await _shape(call, ShapeInterfaces(vms=(), index=index, shaping=shaping, without=without))


async def _clear(call: Call) -> AsyncIterator[Group]:
    index = index_of(call.args.text("index", WILDCARD))
    yield await _shape(call, ShapeInterfaces(vms=(), index=index, clear=True))


async def _shape(call: Call, change: ShapeInterfaces) -> Group:
    async def shape(host: str, vms: Sequence[VmInfo]) -> Answer:
        request = ShapeInterfaces(
            vms=tuple(map(nic_of, vms)),
            index=change.index,
            shaping=change.shaping,
            without=change.without,
            clear=change.clear,
        )
        reply = await call.engine.ask(f"network@{host}", request, timeout_s=SHAPE_S, namespace=call.session.namespace)
        return interface_report(reply, call)

    return await on_targets(call, shape)


COMMANDS = (
    Command(
        patterns=(
            "qos <add,> <target> <interface> <rate,> <bw> <kbit,mbit,gbit>",
            "qos <add,> <target> <interface> <delay,> <duration>",
            "qos <add,> <target> <interface> <jitter,> <duration>",
            "qos <add,> <target> <interface> <loss,> <percent>",
            "qos <add,> <target> <interface> <corrupt,> <percent>",
        ),
        help_short="limit or disturb the traffic that VMs receive",
        help_long=f"""\
{TARGET_HELP}
INTERFACE is its number, 0 for the first one, or `{WILDCARD}` for all of them.

	qos add web 0 rate 10 mbit        at most so much
	qos add web 0 delay 100ms         each packet comes so much later
	qos add web 0 jitter 10ms         and up to so much earlier or later than that
	qos add web 0 loss 0.25           so many of a hundred packets are lost
	qos add web all corrupt 0.1       and so many have one bit changed

Only what a VM receives is affected; for both directions shape both ends. The
constraints of an interface hold together, and one of a kind takes the place of the
earlier one; a delay, jitter, loss or corruption of 0 takes it away. A bare number
for a time is milliseconds. Jitter can change the order of packets.

Constraints stay when the interface is moved and when the VM is launched again, and
end with `vm flush`. They are not part of the configuration. All but the rate need
a kernel with sch_netem; where it is missing that is the error, and nothing changes.
The column qos of `vm info` shows what is in force.""",
        scope=Scope.TARGETED,
        run=_add,
        completers={"target": "vm_target"},
    ),
    Command(
        patterns=("clear qos <target> [index]",),
        help_short="take away what limits and disturbs the traffic of VMs",
        help_long=f"""\
{TARGET_HELP}
INDEX is the number of an interface, 0 for the first one; without it, or with `{WILDCARD}`,
all interfaces are meant. `qos add` with 0 takes away one kind alone, but for a rate.""",
        scope=Scope.TARGETED,
        run=_clear,
        completers={"target": "vm_target"},
    ),
)
