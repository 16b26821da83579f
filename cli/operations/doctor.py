"""`minibus doctor`: what this host can do. The work is done by another program, which needs nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from cli.operations.programs import become, run

DOCTOR = "shims.doctor"
TUNE = "shims.doctor.tune"
OPTIONS = ("expect", "memory", "interfaces", "processes", "watchers")


def doctor(base: Path, values: Mapping[str, str], *, as_json: bool) -> NoReturn:
    """Become the program that looks at the host, with those of `values` that it takes."""
    given = [word for name in OPTIONS if name in values for word in (f"--{name}", values[name])]
    become(DOCTOR, *given, *(["--json"] * as_json), "--", str(base))


def tune(base: Path) -> bool:
    """Raise the limits of this host, as far as that can be; False if the program that does it failed."""
    return run(TUNE, str(base)) == 0


def untune(base: Path) -> NoReturn:
    """Become the program that puts them back."""
    become(TUNE, "--restore", str(base))
