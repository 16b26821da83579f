"""The configuration file: reading it, with what is wrong in it line by line, and its template."""

from __future__ import annotations

import difflib
import os
import re
import stat
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from bus.errors import InvalidError
from bus.settings.settings import BY_NAME, FILE, SETTINGS, Kind, Setting, sound

MAX_BYTES = 64 * 1024
WIDTH = 100


def read(file: Path) -> dict[str, str]:
    """What it sets, by the names of settings; raises InvalidError with the first thing that is wrong."""
    found, problems = parse(load(file), str(file))
    if problems:
        more = f" (and {len(problems) - 1} more: `minibus config check {file}`)" if len(problems) > 1 else ""
        raise InvalidError(problems[0] + more)
    return found


def load(file: Path) -> str:
    """The text of a file that root may believe; raises InvalidError."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidError(f"{file} is not a file")
            if mode & stat.S_IWOTH:
                raise InvalidError(f"{file} can be written to by everybody: chmod o-w it")
            data = os.read(fd, MAX_BYTES + 1)  # of a file all that there is, up to that
        finally:
            os.close(fd)
    except OSError as error:
        raise InvalidError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise InvalidError(f"{file} is longer than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")  # some editors begin a file with a mark, which TOML 1.0 does not know
    except UnicodeDecodeError:
        raise InvalidError(f"{file} is not UTF-8 text") from None


def parse(text: str, where: str) -> tuple[dict[str, str], list[str]]:
    """What a text sets, and all that is wrong with it; each problem is one sentence that begins with file and line."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, [_not_toml(where, str(error))]
    except RecursionError:
        return {}, [f"{where}: nested too deeply"]
    found: dict[str, str] = {}
    problems: list[str] = []
    for section, content in tables.items():
        if not isinstance(content, dict):
            problems.append(f"{_at(where, text, '', section)}: {_no_section(section)}")
            continue
        for key, value in content.items():
            place = _at(where, text, section, key)
            try:
                setting = _setting(section, key)
                found[setting.name] = sound(setting, _text(setting, value), setting.name)
            except InvalidError as error:
                problems.append(f"{place}: {error}")
    return found, problems


def _not_toml(where: str, complaint: str) -> str:
    """With the line in front, as of all other problems."""
    what, _, place = complaint.rpartition(" (at line ")
    line, comma, _ = place.partition(",")
    at = f"{where}: line {line}" if what and comma else where
    return f"{at}: it is not TOML: {what or complaint}"


def _no_section(key: str) -> str:
    if any(setting.section == key for setting in SETTINGS):
        return f"`{key}` is a section: a line `[{key}]`, and what belongs to it in the lines below"
    return f"`{key[:80]}` stands in no section{_meant(key)}"


def _setting(section: str, key: str) -> Setting:
    name = f"{section}.{key}"
    if name in BY_NAME:
        return BY_NAME[name]
    raise InvalidError(f"there is no setting `{name[:80]}`{_meant(name)}")


def _meant(name: str) -> str:
    key = name.rpartition(".")[2]
    near = difflib.get_close_matches(name[:80], BY_NAME, n=1, cutoff=0.6)
    near = near or [known for known in BY_NAME if known.endswith(f".{key}") or known.startswith(f"{key}.")][:1]
    return f": did you mean `{near[0]}`?" if near else f"; there are {', '.join(BY_NAME)}"


def _text(setting: Setting, value: Any) -> str:
    """A value as text; raises InvalidError if it is of another type."""
    match setting.kind, value:
        case Kind.SWITCH, bool():
            return "true" if value else "false"
        case Kind.PATH, str() if not value or value.startswith("/"):
            return value
        case Kind.TEXT | Kind.ADDRESS, str():
            return value
        case Kind.ADDRESS, int() if not isinstance(value, bool):
            return str(value)
        case _:
            raise InvalidError(f"{setting.name} is {str(value)[:40]!r}: expected {setting.kind.value}")


def _at(where: str, text: str, section: str, key: str) -> str:
    """File and line of a key, as far as it is written in the usual way."""
    wanted = key if not section else f"{section}.{key}"
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*\"?([^\]\"]*?)\"?\s*\]", line):
            before = f"{heading[1]}."
            if not section and heading[1] == key:
                return f"{where}: line {number}"
        elif (name := re.match(r"[\s\"]*([^=\"\s]+)[\s\"]*=", line)) and f"{before}{name[1]}.".startswith(f"{wanted}."):
            return f"{where}: line {number}"
    return where


def template() -> str:
    """A file in which every setting is explained, and none is made."""
    lines = [
        "# Settings of minibus, read by `minibus up --config FILE` and by the units of systemd.",
        f"# Its place is {FILE}. Settings stand here with their defaults; to change one,",
        "# remove the `#` before it. `minibus config check` tells whether all is right, `minibus config show`",
        "# what holds: a flag goes before the environment, that before this file, that before the default.",
    ]
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += ["", *(f"# {line}" for line in textwrap.wrap(setting.help, WIDTH))]
        lines += [f"# {_places(setting)}", f"#{setting.key} = {_toml(setting)}"]
    return "\n".join(lines) + "\n"


def _places(setting: Setting) -> str:
    words = f"Flag --{setting.flag}" + (f", environment {setting.variable}" if setting.variable else "")
    return f"{words}." if setting.default else f"{words}. Not set by default; for example:"


def _toml(setting: Setting) -> str:
    if not setting.default:
        return setting.example
    return setting.default if setting.kind is Kind.SWITCH else f'"{setting.default}"'
