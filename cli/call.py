"""One call of the executable: the name it was called by, the flags, the other words. Imports next to nothing."""

from __future__ import annotations

import os

from cli.arguments import Options

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from cli.place import Place

DEFAULT_BASE = "/var/lib/minibus"
MINIMEGA = "minimega"
MINIMEGA_BASE = "/tmp/minimega"  # noqa: S108 - where minimega's scripts look for it
PLACE = ("key", "address")
"""Flags of those subcommands that can talk to another host."""


class Call:
    """What somebody typed."""

    def __init__(self, program: str, options: Options, words: list[str]) -> None:
        self.program = program
        self.options = options
        self.words = words

    @property
    def is_minimega(self) -> bool:
        """Whether minimega's ways count where they differ."""
        return self.program == MINIMEGA

    @property
    def base(self) -> str:
        """The base directory that is meant, as absolute path."""
        default = MINIMEGA_BASE if self.is_minimega else os.environ.get("MINIBUS_BASE") or DEFAULT_BASE
        return os.path.abspath(self.options.values.get("base") or default)  # noqa: PTH100 - pathlib costs 3 ms

    @property
    def namespace(self) -> str:
        """The namespace that was given; empty if none was."""
        return self.options.values.get("namespace", "")

    @property
    def as_json(self) -> bool:
        """Whether a program will read the answer."""
        return self.options.is_on("json")

    @property
    def is_elsewhere(self) -> bool:
        """Whether another host is meant."""
        return any(flag in self.options.values for flag in PLACE)

    def place(self) -> Place:
        """The minibus that is meant, here or elsewhere; raises UsageError."""
        from pathlib import Path

        from cli.place import place_of

        return place_of(Path(self.base), self.options)

    def start_flags(self) -> dict[str, str]:
        """The flags of a start, as texts; `v` is another name of `verbose`."""
        values = {name: value for name, value in self.options.values.items() if name != "base"}
        switches = self.options.switches.items()
        return {**values, **{("verbose" if name == "v" else name): str(on).lower() for name, on in switches}}
