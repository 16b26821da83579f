"""`minibus config`: what a configuration file says, and what a start would do with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bus.errors import InvalidError
from bus.settings import settings, settings_file
from bus.settings.settings import FILE, Effective
from cli.answers.columns import columns
from cli.arguments import UsageError

HEADER = ("setting", "value", "from")


def config(words: Sequence[str], flags: Mapping[str, str]) -> int:
    """Do what the words say, of which the first is `check`, `show` or `template`; returns the exit status."""
    verb, *rest = words or ("",)
    match verb:
        case "check":
            return check(Path(rest[0] if rest else _file(flags) or FILE))
        case "show" if not rest:
            return show(flags, as_json=flags.get("json") == "true")
        case "template" if not rest:
            print(settings_file.template(), end="")
            return 0
        case _:
            raise UsageError("config needs one of check [FILE], show, template")


def check(file: Path) -> int:
    """Say everything that is wrong in a file."""
    try:
        found, problems = settings_file.parse(settings_file.load(file), str(file))
    except InvalidError as error:
        found, problems = {}, [str(error)]
    for problem in problems:
        sys.stderr.write(f"minibus: {problem}\n")
    if problems:
        return 1
    print(f"{file} is right: it makes {len(found)} of {len(settings.SETTINGS)} settings")
    return 0


def show(flags: Mapping[str, str], *, as_json: bool) -> int:
    """Print every setting with its value and where that comes from."""
    file = _file(flags)
    try:
        held = settings.resolve(flags, os.environ, settings_file.read(Path(file)) if file else {}, file)
    except InvalidError as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1
    print(json.dumps(list(map(_object, held))) if as_json else _table(held))
    return 0


def _file(flags: Mapping[str, str]) -> str:
    """The configuration file that a start with these flags reads; empty for none."""
    return flags.get("config") or os.environ.get(settings.CONFIG, "")


def _object(one: Effective) -> dict[str, str]:
    return {"setting": one.setting.name, "value": one.value, "from": one.source}


def _table(held: Sequence[Effective]) -> str:
    rows = [[one.setting.name, one.value or "-", one.source] for one in held]
    return columns(HEADER, rows, left=HEADER)
