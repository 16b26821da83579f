"""The node's part of logging."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import InvalidError
from bus.logs.log_owner import LogOwner
from bus.logs.log_settings import FIRST
from bus.logs.logs import Log, Outlet
from bus.node import control


@pytest.fixture
def outlet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outlet]:
    """That of a node whose environment says nothing about logs."""
    for name in ("LEVEL", "FILE", "STDERR"):
        monkeypatch.delenv(f"MINIBUS_LOG_{name}", raising=False)
    outlet = Outlet(fd=-1)
    yield outlet
    outlet.configure(FIRST)


@pytest.fixture
def lane() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a control lane."""
    ends = control.pair()
    yield ends
    for end in ends:
        end.close()


def received(lane: socket.socket) -> list[dict[str, object]]:
    """All packets that have come."""
    packets: list[dict[str, object]] = []
    while True:
        try:
            packet = control.receive(lane)
        except BlockingIOError:
            return packets
        assert packet is not None
        packets.append(packet[0])


def test_the_environment_says_how_it_begins(outlet: Outlet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINIBUS_LOG_LEVEL", "error")
    monkeypatch.setenv("MINIBUS_LOG_FILE", str(tmp_path / "log"))
    owner = LogOwner(outlet)
    settings = owner.answer({"what": "logging"})["settings"]
    assert (settings["level"], settings["file"]) == ("error", str(tmp_path / "log"))
    assert (tmp_path / "log").exists()


@pytest.mark.parametrize(("name", "value"), [("LEVEL", "loud"), ("FILE", "/proc/none"), ("STDERR", "2")])
def test_a_wrong_environment_is_refused(outlet: Outlet, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MINIBUS_LOG_{name}", value)
    with pytest.raises(InvalidError, match=value):
        LogOwner(outlet)


def test_changes_hold_at_once_and_are_told_once(outlet: Outlet, lane: tuple[socket.socket, socket.socket]) -> None:
    owner = LogOwner(outlet)
    owner.inherits("vm")
    owner.tell({"vm": lane[0]})
    assert received(lane[1]) == []
    assert owner.answer({"what": "set_logging", "changes": {"level": "debug"}, "add_filter": "x"}) == {}
    assert owner.answer({"what": "set_logging", "add_filter": "x"}) == {}
    assert (outlet.settings.level, outlet.settings.filters) == ("debug", ("x",))
    owner.tell({"vm": lane[0]})
    owner.tell({"vm": lane[0]})
    (packet,) = received(lane[1])
    child = Outlet(fd=-1)
    Log("vm", child).adopt(packet["settings"])
    assert child.settings == outlet.settings


def test_a_child_whose_lane_is_full_is_told_later(outlet: Outlet, lane: tuple[socket.socket, socket.socket]) -> None:
    owner = LogOwner(outlet)
    owner.inherits("vm")
    owner.answer({"what": "set_logging", "changes": {"level": "warn"}})
    while control.send(lane[0], {"type": "ping", "pad": "x" * 10_000}):
        pass
    owner.tell({"vm": lane[0]})
    assert "logging" not in [packet["type"] for packet in received(lane[1])]
    owner.tell({"vm": lane[0]})
    assert [packet["type"] for packet in received(lane[1])] == ["logging"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"level": "loud"}, "unknown log level"),
        ({"level": "debug", "file": "/"}, "cannot open log file /: is a directory"),
        ({"colour": True}, "no log setting"),
    ],
)
def test_what_cannot_be_changes_nothing(outlet: Outlet, changes: dict[str, object], part: str) -> None:
    owner = LogOwner(outlet)
    assert part in owner.answer({"what": "set_logging", "changes": changes})["error"]
    assert outlet.settings == FIRST


def test_reset_goes_back_to_the_start(outlet: Outlet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIBUS_LOG_LEVEL", "warn")
    owner = LogOwner(outlet)
    owner.answer({"what": "set_logging", "changes": {"level": "debug", "ring": 9}})
    owner.answer({"what": "reset_logging", "names": ["level"]})
    assert (outlet.settings.level, outlet.settings.ring) == ("warn", 9)
    owner.answer({"what": "reset_logging", "names": []})
    assert outlet.settings.ring == 0


def test_records_come_in_pages_that_fit_into_a_packet(outlet: Outlet) -> None:
    owner = LogOwner(outlet)
    owner.answer({"what": "set_logging", "changes": {"ring": 500}})
    log = Log("node", outlet)
    for number in range(300):
        log.info("said", number=number, text="\u2028ü" * 700 if number % 50 == 0 else "short")
    seen: list[str] = []
    after, pages = 0, 0
    while page := owner.answer({"what": "log_lines", "after": after})["lines"]:
        assert len(json.dumps(page)) < control.MAX_PACKET - 1000
        seen += [text for _, _, _, _, text in page]
        after, pages = page[-1][0], pages + 1
    assert len(seen) == 300
    assert pages > 1
    assert all(f"number={number} " in text for number, text in enumerate(seen))


def test_records_of_the_warden_are_kept_if_they_are_sound(outlet: Outlet) -> None:
    owner = LogOwner(outlet)
    owner.answer({"what": "set_logging", "changes": {"ring": 5}})
    sound = {"type": "record", "time_s": 1.5, "level": "info", "actor": "warden", "text": "a.py:1: x"}
    owner.keep(sound)
    for wrong in ({"time_s": "1"}, {"level": "loud"}, {"actor": None}, {"text": 3}):
        owner.keep({**sound, **wrong})
    owner.keep({})
    assert owner.answer({"what": "log_lines"})["lines"] == [[1, 1.5, "info", "warden", "a.py:1: x"]]


def test_the_file_is_opened_anew(outlet: Outlet, tmp_path: Path) -> None:
    owner = LogOwner(outlet)
    log = Log("node", outlet)
    path = tmp_path / "log"
    change = {"what": "set_logging", "changes": {"file": str(path)}}
    owner.answer(change)
    log.info("first")
    path.rename(tmp_path / "moved")
    owner.answer(change)
    log.info("second")
    assert "second" in path.read_text()
    assert "first" in (tmp_path / "moved").read_text()
