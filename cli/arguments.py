"""The flags of the executable: one dash or two, `-x value` or `-x=value`, up to the first word that is none.

Imports nothing: one-shot commands need it before all else.
"""

from __future__ import annotations

VALUES = (
    *("base", "namespace"),
    *("filepath", "level", "logfile", "log-format", "console-address", "config", "group", "listen"),
    *("pipe", "port", "degree", "context", "msa", "cgroup"),
    *("expect", "memory", "interfaces", "processes", "watchers"),
    *("id", "timeout", "for", "metrics", "vlan-range", "vlanrange"),
    *("role", "topic", "expires", "out", "address", "key"),
)
"""Flags that take a value."""
SWITCHES = (
    *("help", "h", "version", "cli", "e", "attach", "nostdin", "force", "panic", "v", "verbose"),
    *("json", "check", "detach", "durable", "guests", "yes", "read", "write", "framed"),
    *("tune-host", "untune"),
    *("list", "watch", "follow"),
    *("read-only", "new"),
)
"""Flags that are on or off."""
WORDS = {
    **dict.fromkeys(("", "1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""What may follow the equals sign of a switch, and that there is none."""
LEVELS = ("debug", "info", "warn", "error", "fatal")
RANGES = {
    "port": (1, 65_535),
    "degree": (0, 65_535),
    "msa": (1, 86_400),
    "expect": (1, 1_000_000),
    "memory": (1, 1_000_000),
    "interfaces": (0, 1000),
    "processes": (1, 100_000),
    "watchers": (0, 1000),
}
"""Flags whose value is a number, with the smallest and the largest; msa is in seconds, memory in MiB."""

DURATIONS = ("timeout", "for")
"""Flags whose value is a number of seconds."""
MAX_S = 1_000_000


class UsageError(Exception):
    """The arguments make no sense; `str()` is one sentence."""

    subcommand = ""
    """Whose they are, if it is known."""


class Options:
    """The flags that were given; the last of a name counts."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        """All values of each flag, for subcommands that take several."""
        self.switches: dict[str, bool] = {}

    def take(self, arguments: list[str]) -> list[str]:
        """Read leading flags; gives what follows them, without a `--` that ends them. Raises UsageError."""
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            argument = rest.pop(0)
            if argument == "--":
                break
            name, equals, value = argument[2 if argument.startswith("--") else 1 :].partition("=")
            if name in VALUES:
                if not equals:
                    if not rest:
                        raise UsageError(f"{argument} needs a value")
                    value = rest.pop(0)
                self.values[name] = check_value(name, value)
                self.lists.setdefault(name, []).append(value)
            elif name not in SWITCHES:
                raise UsageError(f"unknown option {argument}")
            elif value not in WORDS or (equals and not value):
                raise UsageError(f"{argument} is neither true nor false")
            else:
                self.switches[name] = WORDS[value]
        return rest

    def is_on(self, *names: str) -> bool:
        """Whether one of these switches is."""
        return any(self.switches.get(name, False) for name in names)

    def beyond(self, allowed: tuple[str, ...]) -> str:
        """A flag that was given and is not among the allowed ones; empty if there is none."""
        return next((name for name in (*self.values, *self.switches) if name not in allowed), "")


def check_value(name: str, value: str) -> str:
    """The value of a flag, if it may have it; raises UsageError."""
    if name == "level" and value not in LEVELS:
        raise UsageError(f"--level {value[:80]} is none of {', '.join(LEVELS)}")
    if name in RANGES:
        low, high = RANGES[name]
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and low <= int(value) <= high):
            raise UsageError(f"--{name} {value[:80]} is no number from {low} to {high}")
    if name in DURATIONS and not _is_duration(value):
        raise UsageError(f"--{name} {value[:80]} is no number of seconds from 0.001 to {MAX_S}")
    if "\0" in value:
        raise UsageError(f"--{name} cannot hold a zero byte")
    return value


def _is_duration(value: str) -> bool:
    whole, _, fraction = value.partition(".")
    digits = whole + fraction
    return digits.isascii() and digits.isdecimal() and len(value) < 20 and 0.001 <= float(value) <= MAX_S


def seconds(options: Options, name: str) -> float | None:
    """The value of one of `DURATIONS`; None if it was not given."""
    return float(options.values[name]) if name in options.values else None
