"""All settings of a start, each declared once: flags, variables, the configuration file, its template and the docs.

A flag goes before the environment, that before the file, that before the default. Values are texts throughout, as in
the environment, which is what carries them to the processes of a node.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from bus import paths
from bus.access import group
from bus.errors import BusError, InvalidError
from bus.logs import log_settings
from bus.settings import listen_address, metrics_address, vlan_range

FILE = "/etc/minibus/minibus.toml"
CONFIG = "MINIBUS_CONFIG"
"""Environment variable: the configuration file, if a start is not told with `--config`."""
SWITCH_WORDS = {"1": "true", "true": "true", "0": "false", "false": "false"}


class Kind(StrEnum):
    """What a value is, in the file."""

    TEXT = "text"
    PATH = "absolute path"
    SWITCH = "true or false"
    ADDRESS = "text or port"


class Setting(NamedTuple):
    """One setting."""

    section: str
    """Of the file."""
    key: str
    flag: str
    """Of `minibus up`, without the dashes."""
    variable: str
    """Of the environment; empty if there is none."""
    kind: Kind
    default: str
    example: str
    """A value other than the default, as the file has it."""
    help: str
    """One or more sentences."""
    check: Callable[[str], object] = str
    """Raises BusError or ValueError if a value that is not empty makes no sense."""
    alias: str = ""
    """What minimega calls the flag."""

    @property
    def name(self) -> str:
        """As one says it: `log.level`."""
        return f"{self.section}.{self.key}"


class Effective(NamedTuple):
    """What holds, and why."""

    setting: Setting
    value: str
    source: str
    """`--FLAG`, the name of a variable, the file, or `default`."""


def _check_level(text: str) -> None:
    log_settings.checked(log_settings.FIRST, {"level": text})


def _check_format(text: str) -> None:
    log_settings.checked(log_settings.FIRST, {"format": text})


def _check_console(text: str) -> None:
    import ipaddress

    if text != paths.NO_ADDRESS:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise InvalidError(f"`{text[:80]}` is neither an IP address nor `{paths.NO_ADDRESS}`") from None


SETTINGS: tuple[Setting, ...] = (
    Setting(
        *("host", "base", "base", "MINIBUS_BASE", Kind.PATH, paths.DEFAULT_BASE, '"/srv/minibus"'),
        "The base directory: all state, the sockets of the bus, the guests. Clients do not read this file: give them "
        "--base or MINIBUS_BASE if it is not the default.",
    ),
    Setting(
        *("host", "files", "filepath", paths.FILES, Kind.PATH, "", '"/srv/images"'),
        "Images and other files for guests, if not files/ in the base directory.",
    ),
    Setting(
        *("host", "group", "group", group.GROUP, Kind.TEXT, group.DEFAULT, '"none"'),
        "Name or number of the group whose members may use minibus; that makes them root on this host. "
        "`none`: only root may. If there is no group of the default name, that is so as well.",
    ),
    Setting(
        *("host", "durable", "durable", paths.DURABLE, Kind.SWITCH, "false", "true"),
        "Answer nothing before the disk has it: survives a power loss too, and every change waits for the disk.",
    ),
    Setting(
        *("host", "tune", "tune-host", "", Kind.SWITCH, "false", "true"),
        "Raise limits of the host that many guests hit; `minibus doctor --untune` puts them back.",
    ),
    Setting(
        *("log", "level", "level", log_settings.LEVEL_VARIABLE, Kind.TEXT, "info", '"debug"'),
        "Log debug, info, warn, error or fatal, and what is worse.",
        _check_level,
    ),
    Setting(
        *("log", "format", "log-format", log_settings.FORMAT_VARIABLE, Kind.TEXT, "json", '"text"'),
        "What stderr and log/minibus.log get: json, an object a line, or text.",
        _check_format,
    ),
    Setting(
        *("log", "file", "logfile", log_settings.FILE_VARIABLE, Kind.PATH, "", '"/var/log/minibus.log"'),
        "Log to this file as well, in minimega's form.",
    ),
    Setting(
        *("log", "stderr", "v", log_settings.STDERR_VARIABLE, Kind.SWITCH, "true", "false"),
        "Log to stderr, or log/minibus.log with --detach.",
        alias="verbose",
    ),
    Setting(
        *("console", "address", "console-address", paths.CONSOLE_ADDRESS, Kind.TEXT, paths.LOOPBACK, '"none"'),
        "Where the TCP ports of consoles are: an IP address, or none. Who can connect needs no password to type there.",
        _check_console,
    ),
    Setting(
        *("metrics", "listen", "metrics", metrics_address.METRICS, Kind.ADDRESS, "", '"127.0.0.1:9100"'),
        "Serve metrics for Prometheus at this [ADDRESS:]PORT, without a password. Port 0: any that is free.",
        metrics_address.parse_address,
    ),
    Setting(
        *("gateway", "listen", "listen", listen_address.LISTEN, Kind.TEXT, "", '"tcp://0.0.0.0:9200"'),
        "Let clients with keys (`minibus key`) use the bus over TCP at tcp://ADDRESS:PORT; events have the next port.",
        listen_address.parse_listen,
    ),
    Setting(
        *("vlans", "range", "vlan-range", vlan_range.VLAN_RANGE, Kind.TEXT, "101-4096", '"200-300"'),
        "The numbers that names of VLANs get: MIN-MAX, without MAX.",
        vlan_range.parse_range,
        alias="vlanrange",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def resolve(
    flags: Mapping[str, str],
    environment: Mapping[str, str],
    filed: Mapping[str, str] | None = None,
    file: str = "",
) -> tuple[Effective, ...]:
    """What holds: `flags` by their names, `filed` as `settings_file.read` gives it. Raises InvalidError."""
    return tuple(_effective(setting, flags, environment, filed or {}, file) for setting in SETTINGS)


def _effective(
    setting: Setting, flags: Mapping[str, str], environment: Mapping[str, str], filed: Mapping[str, str], file: str
) -> Effective:
    if given := flags.get(setting.flag) or flags.get(setting.alias or setting.flag):
        return Effective(setting, sound(setting, given, f"--{setting.flag}"), f"--{setting.flag}")
    if setting.variable and (given := environment.get(setting.variable, "")):
        return Effective(setting, sound(setting, given, setting.variable), setting.variable)
    if (given := filed.get(setting.name, "")) != "":
        return Effective(setting, given, file)
    return Effective(setting, setting.default, "default")


def sound(setting: Setting, value: str, where: str) -> str:
    """The value, if it makes sense; a switch in one of two words. Raises InvalidError that begins with `where`."""
    if setting.kind is Kind.SWITCH:
        if value not in SWITCH_WORDS:
            raise InvalidError(f"{where} is `{value[:40]}`: expected true or false")
        return SWITCH_WORDS[value]
    if "\0" in value:
        raise InvalidError(f"{where} cannot hold a zero byte")
    try:
        if value:
            setting.check(value)
    except (BusError, ValueError) as error:
        raise InvalidError(f"{where}: {error}") from None
    return value


def export(effective: Sequence[Effective], environment: MutableMapping[str, str]) -> None:
    """Put what does not hold anyway where the processes of a node, and those they start, look for it.

    The base directory is not among it: each is told where it runs.
    """
    for setting, value, source in effective:
        if source == "default" or not setting.variable or setting.name == "host.base":
            continue
        if setting.kind is Kind.SWITCH:
            environment[setting.variable] = "1" if value == "true" else "0"
        else:
            environment[setting.variable] = os.path.abspath(value) if setting.kind is Kind.PATH else value  # noqa: PTH100 - of text


def value_of(effective: Sequence[Effective], name: str) -> str:
    """The value of one setting."""
    return next(one.value for one in effective if one.setting.name == name)
