"""Which log records are written, and where to: the settings, and what is a sound one. No input or output.

A node starts with what these environment variables say; `minibus up` sets them from its flags. Its processes inherit
it, and `clear log` goes back to it.

| variable | value |
|---|---|
| `MINIBUS_LOG_LEVEL` | `debug`, `info` (without it), `warn`, `error` or `fatal` |
| `MINIBUS_LOG_FILE` | a file to append to as well, in minimega's line format |
| `MINIBUS_LOG_STDERR` | `0`: nothing on stderr |
| `MINIBUS_LOG_FORMAT` | of what goes to stderr: `json` (without it) or `text` |
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LEVEL_VARIABLE = "MINIBUS_LOG_LEVEL"
FILE_VARIABLE = "MINIBUS_LOG_FILE"
STDERR_VARIABLE = "MINIBUS_LOG_STDERR"
FORMAT_VARIABLE = "MINIBUS_LOG_FORMAT"

FORMATS = ("json", "text")
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
SYSLOG_LOCAL = "local"
MAX_RING = 10_000
MAX_SETTINGS = 32 * 1024
"""Bytes of all settings as JSON: they travel in one packet of the control lane."""
MAX_PATH = 4095
"""Bytes; PATH_MAX of Linux with its final NUL."""


class LogSettings(NamedTuple):
    """See `bus.messages.debug.Logging`, which has the same fields but `format`: that stays while a node runs."""

    level: str = "info"
    stderr: bool = True
    file: str = ""
    filters: tuple[str, ...] = ()
    syslog: str = ""
    ring: int = 0
    format: str = "json"
    """Of what goes to stderr."""


class SyslogAddress(NamedTuple):
    """Where a remote syslog server listens."""

    protocol: str
    """tcp or udp."""
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}:{host}:{self.port}"


NAMES = LogSettings._fields
FIRST = LogSettings()
"""What holds without any settings."""


def from_environment(environment: Mapping[str, str]) -> LogSettings:
    """The settings that a node starts with; raises ValueError with one sentence that names the variable."""
    level = environment.get(LEVEL_VARIABLE) or FIRST.level
    if level not in LEVELS:
        raise ValueError(f"{LEVEL_VARIABLE} is `{level[:40]}`: expected one of {', '.join(LEVELS)}")
    stderr = environment.get(STDERR_VARIABLE) or "1"
    if stderr not in ("0", "1"):
        raise ValueError(f"{STDERR_VARIABLE} is `{stderr[:40]}`: expected 0 or 1")
    form = environment.get(FORMAT_VARIABLE) or FIRST.format
    if form not in FORMATS:
        raise ValueError(f"{FORMAT_VARIABLE} is `{form[:40]}`: expected json or text")
    file = environment.get(FILE_VARIABLE, "")
    file = os.path.abspath(file) if file else ""  # noqa: PTH100 - no pathlib: the warden loads this
    return checked(FIRST, {"level": level, "stderr": stderr == "1", "file": file, "format": form})


def checked(settings: LogSettings, changes: Mapping[str, Any]) -> LogSettings:
    """The settings with some of them changed; raises ValueError with one sentence if one makes no sense."""
    for name, value in changes.items():
        check = _CHECKS.get(name)
        if check is None:
            raise ValueError(f"there is no log setting `{name[:40]}`")
        check(value)
    changed = settings._replace(**changes)
    changed = changed._replace(filters=tuple(changed.filters))
    if len(json.dumps(changed)) > MAX_SETTINGS:
        raise ValueError(f"the log settings, with all filters, are longer than {MAX_SETTINGS} bytes")
    return changed


def parse_syslog(text: str) -> SyslogAddress:
    """The address in `tcp:HOST:PORT` or `udp:HOST:PORT`, IPv6 addresses in brackets; raises ValueError."""
    protocol, _, address = text.partition(":")
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if protocol not in ("tcp", "udp") or not colon or not host or len(text) > 300 or not host.isprintable():
        raise ValueError(f"`{address[:80]}` is no address of a syslog server: expected HOST:PORT")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"`{port[:20]}` is no port: expected 1 to 65535")
    return SyslogAddress(protocol, host, int(port))


def is_numeric(host: str) -> bool:
    """Whether a host is an IP address, so that nobody has to be asked for it."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def _check_level(value: Any) -> None:
    if not isinstance(value, str) or value not in LEVELS:
        raise ValueError(f"unknown log level `{str(value)[:40]}`: expected one of {', '.join(LEVELS)}")


def _check_format(value: Any) -> None:
    if value not in FORMATS:
        raise ValueError(f"unknown log format `{str(value)[:40]}`: expected json or text")


def _check_stderr(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError("whether stderr is written to is true or false")


def _check_file(value: Any) -> None:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("the name of a log file cannot contain a NUL character")
    if value and not value.startswith("/"):
        raise ValueError(f"log file {value[:200]}: expected an absolute path")
    if len(os.fsencode(value)) > MAX_PATH:
        raise ValueError(f"the path of a log file has at most {MAX_PATH} bytes")


def _check_filters(value: Any) -> None:
    if not isinstance(value, tuple | list) or not all(isinstance(text, str) and text for text in value):
        raise ValueError("a log filter is a text that is not empty")


def _check_syslog(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError("the address of a syslog server is a text")
    if value not in ("", SYSLOG_LOCAL) and not is_numeric(parse_syslog(value).host):
        raise ValueError(f"`{value[:80]}` names no IP address")


def _check_ring(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_RING:
        raise ValueError(f"a log ring holds 0 to {MAX_RING} records, not {str(value)[:40]}")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "level": _check_level,
    "stderr": _check_stderr,
    "file": _check_file,
    "filters": _check_filters,
    "syslog": _check_syslog,
    "ring": _check_ring,
    "format": _check_format,
}
