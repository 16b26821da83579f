"""Which log settings make sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.logs.log_settings import FIRST, MAX_RING, LogSettings, SyslogAddress, checked, from_environment, parse_syslog


def test_without_variables_the_defaults_hold() -> None:
    assert from_environment({"PATH": "/bin"}) == FIRST == LogSettings("info", True, "", (), "", 0)


def test_the_variables_of_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = from_environment({"MINIBUS_LOG_LEVEL": "debug", "MINIBUS_LOG_FILE": "f", "MINIBUS_LOG_STDERR": "0"})
    assert found == LogSettings(level="debug", stderr=False, file=f"{tmp_path}/f")
    assert from_environment({"MINIBUS_LOG_LEVEL": "", "MINIBUS_LOG_FILE": "", "MINIBUS_LOG_STDERR": "1"}) == FIRST


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"MINIBUS_LOG_LEVEL": "loud"},
            "MINIBUS_LOG_LEVEL is `loud`: expected one of debug, info, warn, error, fatal",
        ),
        ({"MINIBUS_LOG_STDERR": "yes"}, "MINIBUS_LOG_STDERR is `yes`: expected 0 or 1"),
        ({"MINIBUS_LOG_FILE": "/" + "x" * 5000}, "the path of a log file has at most 4095 bytes"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + sentence + "$"):
        from_environment(variables)


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, FIRST),
        ({"level": "fatal"}, LogSettings(level="fatal")),
        ({"stderr": False}, LogSettings(stderr=False)),
        ({"file": "/var/log/x"}, LogSettings(file="/var/log/x")),
        ({"filters": ["a", "b c"]}, LogSettings(filters=("a", "b c"))),
        ({"syslog": "local"}, LogSettings(syslog="local")),
        ({"syslog": "udp:10.0.0.1:514"}, LogSettings(syslog="udp:10.0.0.1:514")),
        ({"syslog": "tcp:[::1]:514"}, LogSettings(syslog="tcp:[::1]:514")),
        ({"ring": MAX_RING}, LogSettings(ring=MAX_RING)),
    ],
)
def test_sound_changes(changes: dict[str, object], settings: LogSettings) -> None:
    assert checked(FIRST, changes) == settings


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"level": "INFO"}, "unknown log level `INFO`"),
        ({"level": ["info"]}, "unknown log level"),
        ({"stderr": 1}, "true or false"),
        ({"file": "relative"}, "expected an absolute path"),
        ({"file": "/a\0b"}, "NUL"),
        ({"file": None}, "NUL"),
        ({"filters": "a"}, "filter"),
        ({"filters": [""]}, "not empty"),
        ({"filters": [3]}, "filter"),
        ({"filters": ["x" * 40_000]}, "longer than"),
        ({"syslog": "udp:localhost:514"}, "names no IP address"),
        ({"syslog": "remote"}, "HOST:PORT"),
        ({"syslog": 5}, "text"),
        ({"ring": -1}, "0 to 10000"),
        ({"ring": True}, "0 to 10000"),
        ({"ring": 10**30}, "0 to 10000"),
        ({"colour": 1}, "no log setting `colour`"),
    ],
)
def test_changes_that_make_no_sense(changes: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        checked(FIRST, changes)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("udp:10.0.0.1:514", SyslogAddress("udp", "10.0.0.1", 514)),
        ("tcp:logs.example:6514", SyslogAddress("tcp", "logs.example", 6514)),
        ("tcp:[fe80::1]:1", SyslogAddress("tcp", "fe80::1", 1)),
    ],
)
def test_syslog_addresses(text: str, address: SyslogAddress) -> None:
    assert parse_syslog(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "udp", "udp:", "udp:host", "udp::514", "udp:host:", "udp:host:0", "udp:host:65536", "udp:host:99999999999",
        "udp:host:x", "udp:host:٣", "ftp:host:514", "udp:::1:514", "udp:a\nb:514", "tcp:" + "h" * 300 + ":514",
    ],
)  # fmt: skip
def test_what_is_no_syslog_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_syslog(text)
