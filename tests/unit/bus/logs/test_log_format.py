"""How log records look."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.logs.log_format import MAX_PACKET, MAX_TEXT, Line, Value, json_line, message, syslog_packet, text_line

MIDDAY_S = time.mktime((2026, 3, 4, 12, 5, 9, 0, 0, -1))


def unprintable(text: str) -> list[str]:
    """Characters that act on a terminal or end a line."""
    return [char for char in text if ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or char in "\u2028\u2029"]


@given(st.text(max_size=50), st.text(max_size=20))
def test_nothing_in_a_value_makes_a_second_line_or_reaches_a_terminal(value: str, event: str) -> None:
    line = json_line("warn", "vm", event, {"said": value}, 1.5)
    assert line.splitlines() == [line[:-1]]
    assert unprintable(line[:-1]) == []
    record = json.loads(line)
    assert (record["said"], record["event"], record["time"]) == (value, event, "1970-01-01T00:00:01.500Z")


@given(st.text(max_size=50), st.text(max_size=20), st.text(max_size=20))
def test_nor_does_it_in_a_message(value: str, event: str, key: str) -> None:
    assert unprintable(message("vm", event, {key: value})) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "started actor=vm"),
        ({"vm_id": 3, "ok": True, "rate": 1.5, "why": None}, "started actor=vm vm_id=3 ok=true rate=1.5 why=null"),
        ({"path": "/a/b-c_d.txt"}, "started actor=vm path=/a/b-c_d.txt"),
        ({"said": "two words"}, 'started actor=vm said="two words"'),
        ({"said": ""}, 'started actor=vm said=""'),
        ({"said": "x actor=node"}, 'started actor=vm said="x actor=node"'),
        ({"said": 'a"b=c'}, 'started actor=vm said="a\\"b=c"'),
        ({"said": "a\nb\x1b[31m\x9b"}, 'started actor=vm said="a\\nb\\u001b[31m\\u009b"'),
        ({"said": "grün"}, 'started actor=vm said="grün"'),
        ({"odd key": "x"}, 'started actor=vm "odd key"=x'),
    ],
)
def test_values_that_are_not_one_plain_word_are_quoted(fields: dict[str, Value], text: str) -> None:
    assert message("vm", "started", fields) == text


def test_a_message_is_bounded() -> None:
    assert len(message("vm", "x", {"a": "y" * MAX_TEXT, "b": 1})) == MAX_TEXT


def test_a_line_of_a_log_file() -> None:
    line = Line(MIDDAY_S, "error", "vm", "launch.py:12: failed actor=vm")
    assert text_line(line) == "2026/03/04 12:05:09 ERROR launch.py:12: failed actor=vm"


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 31), ("info", 30), ("warn", 28), ("error", 27), ("fatal", 26)]
)
def test_a_syslog_packet(level: str, priority: int) -> None:
    line = Line(MIDDAY_S, level, "vm", "a.py:1: x")
    assert syslog_packet(line, 77) == f"<{priority}>Mar  4 12:05:09 minibus[77]: a.py:1: x".encode()
    assert syslog_packet(line, 77, "n1") == f"<{priority}>Mar  4 12:05:09 n1 minibus[77]: a.py:1: x".encode()


@given(st.text(max_size=3000))
def test_a_syslog_packet_is_bounded_and_whole(text: str) -> None:
    packet = syslog_packet(Line(1.0, "info", "vm", text), 1)
    assert len(packet) <= MAX_PACKET
    assert re.match(r"<30>", packet.decode())
