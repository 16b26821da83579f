"""How a log record looks: as a JSON line, as a line of minimega's log files, as a syslog packet. No input or output."""

from __future__ import annotations

import json
import re
import time
from typing import Final, NamedTuple

Value = str | int | float | bool | None

MAX_VALUE: Final = 4096
"""Characters of one value; a guest may have written it."""
MAX_TEXT: Final = 8192
"""Characters of a line of text."""
MAX_PACKET: Final = 2048
"""Bytes of a syslog packet: what receivers should take (RFC 5424, 6.1)."""
TAG: Final = "minibus"

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON leaves as it is, though terminals and readers of lines may act on it."""
_PLAIN = re.compile(r"[\w!#$%&()*+,./:;<>?@\[\]^{|}~-]+", re.ASCII)
"""A value that needs no quotes."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAEMON: Final = 3
_SEVERITIES: Final = {"debug": 7, "info": 6, "warn": 4, "error": 3, "fatal": 2}
"""Of RFC 5424, 6.2.1: 2 is critical, 7 debug."""


class Line(NamedTuple):
    """A record as people read it."""

    time_s: float
    level: str
    actor: str
    text: str
    """`FILE:LINE: ` and the message."""


def json_line(level: str, actor: str, event: str, fields: dict[str, Value], time_s: float) -> str:
    """One record as a JSON line; control characters are escaped, so that nothing in it can forge a second line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_s)) + f".{int(time_s * 1000) % 1000:03d}Z"
    record = {"time": stamp, "level": level, "actor": actor, "event": event, **fields}
    return _seen(json.dumps(record, default=str, ensure_ascii=False)) + "\n"


def message(actor: str, event: str, fields: dict[str, Value]) -> str:
    """The record as `event key=value ...`; a value that is not one plain word is quoted as in JSON."""
    pairs = (f"{_word(key)}={_word(value)}" for key, value in {"actor": actor, **fields}.items())
    return " ".join([_word(event), *pairs])[:MAX_TEXT]


def text_line(line: Line) -> str:
    """A line of a log file as minimega writes it, in local time, without the newline."""
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(line.time_s))
    return f"{stamp} {line.level.upper()} {line.text}"


def syslog_packet(line: Line, pid: int, host: str = "") -> bytes:
    """An RFC 3164 packet of the facility `daemon`; without the host's name, as the local daemon expects it."""
    when = time.localtime(line.time_s)
    stamp = f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d} {when.tm_hour:02d}:{when.tm_min:02d}:{when.tm_sec:02d}"
    head = f"<{_DAEMON * 8 + _SEVERITIES[line.level]}>{stamp} {host + ' ' if host else ''}{TAG}[{pid}]: "
    packet = (head + line.text).encode("utf-8", "replace")[:MAX_PACKET]
    return packet.decode("utf-8", "ignore").encode()  # not ending in half a character


def _word(value: Value) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _seen(json.dumps(value, ensure_ascii=False))
    return json.dumps(value, default=str)


def _seen(text: str) -> str:
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
