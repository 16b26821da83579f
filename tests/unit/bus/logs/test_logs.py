"""Log records and what becomes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bus.logs.log_format import MAX_VALUE, Value
from bus.logs.log_settings import LogSettings
from bus.logs.logs import Log, Outlet, message_id


def written(**settings: object) -> tuple[Log, int]:
    """A log and the descriptor that reads what it wrote."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    return Log("vm", Outlet(LogSettings(**settings), writable)), readable  # type: ignore[arg-type]


def lines(log: Log, readable: int) -> list[dict[str, object]]:
    """The records written so far; closes both ends."""
    os.close(log.outlet._fd)
    with open(readable, "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def test_a_forged_record_stays_a_value() -> None:
    log, readable = written()
    log.info("guest_said", line='x"}\n{"event": "vm_killed"}\u2028\x9b31m')
    (record,) = lines(log, readable)
    assert record["event"] == "guest_said"
    assert record["line"] == 'x"}\n{"event": "vm_killed"}\u2028\x9b31m'


def test_text_instead_of_json() -> None:
    log, readable = written(format="text")
    log.info("guest_said", line="a b\nc", vm_id=7)
    log.outlet.configure(LogSettings(stderr=False, format="text"))
    log.info("unheard")
    os.close(log.outlet._fd)
    (line,) = os.read(readable, 4096).decode().splitlines()
    os.close(readable)
    assert line.partition(" INFO ")[2] == 'test_logs.py:LINE: guest_said actor=vm line="a b\\nc" vm_id=7'.replace(
        "LINE", line.partition(".py:")[2].partition(":")[0]
    )


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
    os.close(log.outlet._fd)
    log.info("x")
    os.close(readable)


def test_text_that_is_not_unicode_is_written_all_the_same() -> None:
    log, readable = written()
    log.info("x", name="\udcff")
    assert lines(log, readable)[0]["name"] == "?"


# --- settings


def test_nothing_goes_to_stderr_that_shall_not() -> None:
    log, readable = written(stderr=False)
    log.error("x")
    assert lines(log, readable) == []


def test_a_filtered_record_goes_nowhere(tmp_path: Path) -> None:
    log, readable = written(ring=5)
    told: list[str] = []
    log.publish = lambda level, event, fields: told.append(event)
    log.outlet.configure(LogSettings(filters=("guest_id=7", "test_logs.py:1 "), ring=5, file=str(tmp_path / "f")))
    log.info("killed", guest_id=7)
    log.info("killed", guest_id=8)
    assert told == ["killed"]
    assert [record["guest_id"] for record in lines(log, readable)] == [8]
    assert (tmp_path / "f").read_text().count("\n") == 1
    assert len(log.outlet.ring.after()) == 1
    log.outlet.configure(LogSettings())


def test_text_names_the_line_that_logs(tmp_path: Path) -> None:
    log, readable = written(ring=5)
    log.info("a")
    log.exception("b", ValueError("x"))
    log.record("warn", "c", {})
    texts = [line.text for _, line in log.outlet.ring.after()]
    number = int(texts[0].split(":")[1])
    assert texts[0] == f"test_logs.py:{number}: a actor=vm"
    assert texts[1].startswith(f"test_logs.py:{number + 1}: b actor=vm trace=")
    assert texts[2].startswith(f"test_logs.py:{number + 2}: ")
    lines(log, readable)


def test_a_sink_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    log, readable = written()
    log.outlet.configure(LogSettings(file=str(tmp_path / "good")))
    with pytest.raises(ValueError, match=f"cannot open log file {tmp_path}: is a directory"):
        log.outlet.configure(LogSettings(level="error", file=str(tmp_path)))
    log.info("still")
    assert "INFO" in (tmp_path / "good").read_text()
    assert log.outlet.settings.level == "info"
    lines(log, readable)
    log.outlet.configure(LogSettings())


def test_a_child_takes_what_can_be_opened_and_says_what_cannot(tmp_path: Path) -> None:
    log, readable = written()
    log.adopt({"level": "warn", "file": str(tmp_path)})
    log.info("x")
    (record,) = lines(log, readable)
    assert (record["event"], record["level"]) == ("log_sink_failed", "warn")
    assert record["reason"] == f"cannot open log file {tmp_path}: is a directory"


@pytest.mark.parametrize("settings", [{"level": "loud"}, {"level": 3}, {"color": True}, {"ring": -1}])
def test_rubbish_from_the_node_changes_nothing(settings: dict[str, object]) -> None:
    log, readable = written(level="error")
    log.adopt(settings)
    assert log.outlet.settings == LogSettings(level="error")
    assert lines(log, readable) == []


def test_a_forked_child_has_no_records_of_its_parent() -> None:
    log, readable = written(ring=5)
    log.info("x")
    log.outlet.forked()
    assert log.outlet.ring.after() == []
    lines(log, readable)


def test_another_process_may_keep_the_records() -> None:
    log, readable = written(ring=5)
    kept: list[str] = []
    log.outlet.relay = lambda line: kept.append(line.actor)
    log.info("x")
    assert kept == ["vm"]
    assert log.outlet.ring.after() == []
    lines(log, readable)
