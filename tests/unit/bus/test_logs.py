"""Log records."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from bus.logs import MAX_VALUE, Log, Value, format_line, message_id


def written(*, level: str = "info") -> tuple[Log, int]:
    """A log and the descriptor that reads what it wrote."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    return Log("vm", level=level, fd=writable), readable


def lines(log: Log, readable: int) -> list[dict[str, object]]:
    """The records written so far; closes both ends."""
    os.close(log._fd)
    with open(readable, "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


@given(st.text(max_size=50), st.text(max_size=20))
def test_nothing_in_a_value_makes_a_second_line_or_reaches_a_terminal(value: str, event: str) -> None:
    line = format_line("warn", "vm", event, {"said": value}, 1.5)
    assert line.splitlines() == [line[:-1]]
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in line[:-1])
    record = json.loads(line)
    assert (record["said"], record["event"], record["time"]) == (value, event, "1970-01-01T00:00:01.500Z")


def test_a_forged_record_stays_a_value() -> None:
    log, readable = written()
    log.info("guest_said", line='x"}\n{"event": "vm_killed"}\u2028\x9b31m')
    (record,) = lines(log, readable)
    assert record["event"] == "guest_said"
    assert record["line"] == 'x"}\n{"event": "vm_killed"}\u2028\x9b31m'


def test_levels_below_the_chosen_one_are_left_out() -> None:
    log, readable = written(level="warn")
    log.debug("a")
    log.info("b")
    log.warn("c")
    log.error("d")
    assert [record["event"] for record in lines(log, readable)] == ["c", "d"]


def test_records_go_to_the_bus_with_the_id_of_the_message() -> None:
    log, readable = written()
    told: list[tuple[str, str, dict[str, Value]]] = []
    log.publish = lambda level, event, fields: told.append((level, event, fields))
    token = message_id.set("m1")
    log.info("vm_started", vm_id=3, text="x" * (MAX_VALUE + 5))
    message_id.reset(token)
    assert told == [("info", "vm_started", {"vm_id": 3, "text": "x" * MAX_VALUE, "msg_id": "m1"})]
    assert lines(log, readable)[0]["msg_id"] == "m1"


def test_an_exception_carries_its_trace() -> None:
    log, readable = written()
    try:
        raise KeyError("gone")
    except KeyError as error:
        log.exception("crashed", error)
    (record,) = lines(log, readable)
    assert "KeyError: 'gone'" in str(record["trace"])


def test_a_closed_stderr_stops_nobody() -> None:
    log, readable = written()
    os.close(log._fd)
    log.info("x")
    os.close(readable)


def test_text_that_is_not_unicode_is_written_all_the_same() -> None:
    log, readable = written()
    log.info("x", name="\udcff")
    assert lines(log, readable)[0]["name"] == "?"
