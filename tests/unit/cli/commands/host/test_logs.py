"""`log` and `clear log`."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import DeadlineError, InvalidError
from bus.messages.base import Ack, Message
from bus.messages.control import ActorList, ActorStatus, GetActors
from bus.messages.debug import GetLogging, GetLogLines, Logging, LogLine, LogLines, ResetLogging, SetLogging
from tests.unit.cli.stand_ins import Asked, EngineBench

SETTINGS = Logging(level="warn", stderr=False, file="/var/log/x", filters=("a", "b c"), syslog="local", ring=10)


def bench(reactions: dict[type[Message], Any] | None = None) -> EngineBench:
    """An engine whose node has these settings."""
    known: dict[type[Message], Any] = {GetLogging: SETTINGS, SetLogging: Ack(), ResetLogging: Ack()}
    return EngineBench({**known, **(reactions or {})})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("log level", "warn"),
        ("log stderr", "false"),
        ("log file", "/var/log/x"),
        ("log filter", "[a b c]"),
    ],
)
async def test_without_a_value_the_setting_is_shown(line: str, text: str) -> None:
    tried = bench()
    assert await tried.text(line) == text
    assert tried.bus.asked[0].request == GetLogging()


async def test_no_filters_are_empty_brackets() -> None:
    assert await bench({GetLogging: Logging()}).text("log filter") == "[]"


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("log level debug", SetLogging(level="debug")),
        ("log level f", SetLogging(level="fatal")),
        ("log stderr true", SetLogging(stderr=True)),
        ("log stderr false", SetLogging(stderr=False)),
        ("log file /a/b", SetLogging(file="/a/b")),
        ("log file a/b", SetLogging(file="/nowhere/files/a/b")),
        ('log file ""', SetLogging(file="")),
        ('log filter "two words"', SetLogging(add_filter="two words")),
        ("log filter http://example.org/x", SetLogging(add_filter="http://example.org/x")),
        ("log syslog local", SetLogging(syslog="local")),
        ("log syslog remote udp 10.0.0.1:514", SetLogging(syslog="udp:10.0.0.1:514")),
        ("log syslog remote tcp [::1]:514", SetLogging(syslog="tcp:[::1]:514")),
        ("log ring 500", SetLogging(ring=500)),
        ("log ring 0", SetLogging(ring=0)),
        ("clear log", ResetLogging()),
        ("clear log file", ResetLogging(settings=("file",))),
        ("clear log level", ResetLogging(settings=("level",))),
        ("clear log stderr", ResetLogging(settings=("stderr",))),
        ("clear log filter", ResetLogging(settings=("filters",))),
        ("clear log syslog", ResetLogging(settings=("syslog",))),
        ("clear log ring", ResetLogging(settings=("ring",))),
    ],
)
async def test_with_a_value_it_is_set_and_nothing_is_shown(line: str, request_: Message) -> None:
    tried = bench()
    assert await tried.text(line) == ""
    (asked,) = tried.bus.asked
    assert asked.request == request_
    assert asked.to.partition("@")[0] == "node"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('log filter ""', "a log filter cannot be empty: it would hold back every record"),
        ("log ring many", "invalid size `many`: expected 0 to 10000 records"),
        ("log ring -1", "invalid size `-1`: expected 0 to 10000 records"),
        ("log ring 10001", "invalid size `10001`: expected 0 to 10000 records"),
        ("log ring ٣", "invalid size `٣`: expected 0 to 10000 records"),
    ],
)
async def test_bad_values_are_refused_before_the_node_is_asked(line: str, sentence: str) -> None:
    tried = bench()
    assert await tried.error(line) == sentence
    assert tried.bus.asked == []


async def test_what_the_node_refuses_is_shown() -> None:
    refused = bench({SetLogging: InvalidError("cannot open log file /: is a directory")})
    assert await refused.error("log file /") == "cannot open log file /: is a directory"


async def test_the_ring_is_off() -> None:
    assert await bench({GetLogging: Logging()}).error("log ring") == "the log ring is off: `log ring 1000` turns it on"


async def test_the_ring_of_all_processes_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(time_s: float, level: str, actor: str, text: str) -> LogLine:
        return LogLine(time_s=time_s, level=level, actor=actor, text=text)

    def lines(asked: Asked) -> Message:
        if asked.to == "vm":
            return LogLines(lines=(line(1.0, "info", "vm", "a.py:1: one"), line(3.0, "warn", "vm", "a.py:1: three")))
        if asked.to == "node":
            return LogLines(lines=(line(2.0, "error", "warden", "b.py:1: two"),))
        raise DeadlineError(f"no answer from {asked.to}")

    names = ("node", "warden", "vm", "cli", "files")
    actors = [ActorStatus(actor=name, pid=number, state="running") for number, name in enumerate(names, 1)]
    gone = ActorStatus(actor="gone", pid=0, state="failed")
    tried = bench({GetActors: ActorList(actors=(*actors, gone)), GetLogLines: lines})
    shown = (await tried.text("log ring")).split("\n")
    assert [text.partition(" ")[2].partition(" ")[2] for text in shown[:3]] == [
        "INFO a.py:1: one",
        "ERROR b.py:1: two",
        "WARN a.py:1: three",
    ]
    assert shown[3:] == [
        "(nothing from cli: no answer from cli)",
        "(nothing from files: no answer from files)",
    ]
