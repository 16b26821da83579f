"""The configuration file: what is wrong in one is said with file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidError
from bus.settings import settings_file
from bus.settings.settings import SETTINGS

ROOT = Path(__file__).parents[4]

GOOD = """
[host]
base = "/srv/minibus"   # another place
durable = true
[log]
level = "debug"
stderr = false
[metrics]
listen = 9100
"""


def test_a_good_one() -> None:
    assert settings_file.parse(GOOD, "f") == (
        {
            **{"host.base": "/srv/minibus", "host.durable": "true", "log.level": "debug", "log.stderr": "false"},
            "metrics.listen": "9100",
        },
        [],
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[log\n", "f: line 1: it is not TOML: Expected ']' at the end of a table declaration"),
        ("[log]\nlevel = debug\n", "f: line 2: it is not TOML: Invalid value"),
        ("\n[log]\nlevle = 'debug'\n", "f: line 3: there is no setting `log.levle`: did you mean `log.level`?"),
        ("[logs]\nlevel = 'debug'\n", "f: line 2: there is no setting `logs.level`: did you mean `log.level`?"),
        ("level = 'debug'\n", "f: line 1: `level` stands in no section: did you mean `log.level`?"),
        ("[log]\nlevel = 'info'\nlevel = 'warn'\n", "f: line 3: it is not TOML: Cannot overwrite a value"),
        ("[log]\nlevel = 'info", "f: it is not TOML: "),
        (
            "host = '/srv'\n",
            "f: line 1: `host` is a section: a line `[host]`, and what belongs to it",
        ),
        ("\n[[log]]\nlevel = 'info'\n", "f: line 2: `log` is a section: a line `[log]`"),
        ("[gateway]\nlisten.port = 1\n", "f: line 2: gateway.listen is \"{'port': 1}\": expected text"),
        ('[log]\n"level" = 3\n', "f: line 2: log.level is '3': expected text"),
        ("[log]\nlevel = 3\n", "f: line 2: log.level is '3': expected text"),
        ("[log]\nlevel = 'loud'\n", "f: line 2: log.level: unknown log level `loud`: expected one of debug, info"),
        ("[host]\n\ndurable = 'yes'\n", "f: line 3: host.durable is 'yes': expected true or false"),
        ("[host]\nbase = 'here'\n", "f: line 2: host.base is 'here': expected absolute path"),
        ("[host]\nbase = '/a\\u0000b'\n".replace("'", '"'), "f: line 2: host.base cannot hold a zero byte"),
        ("[metrics]\nlisten = true\n", "f: line 2: metrics.listen is 'True': expected text or port"),
        ("[metrics]\nlisten = 99999\n", "f: line 2: metrics.listen: metrics cannot be served on `99999`"),
        ("host.base = 7\n", "f: line 1: host.base is '7': expected absolute path"),
        ("[zoo]\nelephant = 1\n", "f: line 2: there is no setting `zoo.elephant`; there are host.base,"),
        ("x = " + "[" * 5000, "f: "),
    ],
)
def test_what_is_wrong(text: str, problem: str) -> None:
    found, problems = settings_file.parse(text, "f")
    assert found == {}
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_problems_are_told_and_the_first_when_starting(tmp_path: Path) -> None:
    file = tmp_path / "minibus.toml"
    file.write_text("[log]\nlevel = 1\nfile = 2\n[host]\ngroup = 'staff'\n")
    assert len(settings_file.parse(file.read_text(), "f")[1]) == 2
    with pytest.raises(InvalidError, match=r"line 2: log\.level is '1': expected text \(and 1 more: `minibus config"):
        settings_file.read(file)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda file: None, "cannot read .*: No such file"),
        (lambda file: file.mkdir(), "is not a file"),
        (lambda file: os.mkfifo(file), "is not a file"),
        (lambda file: file.write_bytes(b"\xff"), "is not UTF-8 text"),
        (lambda file: file.write_bytes(b"#" * 70_000), "is longer than 65536 bytes"),
        (lambda file: (file.touch(), file.chmod(0o666)), "can be written to by everybody"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, make: object, sentence: str) -> None:
    assert callable(make)
    make(tmp_path / "f")
    with pytest.raises(InvalidError, match=sentence):
        settings_file.read(tmp_path / "f")


def test_the_mark_that_some_editors_begin_with_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf[log]\r\nlevel = 'debug'\r\n")
    assert settings_file.read(tmp_path / "f") == {"log.level": "debug"}


@given(st.text(max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    settings_file.parse(text, "f")


def test_the_template_sets_nothing_and_is_right_when_everything_in_it_is_set() -> None:
    text = settings_file.template()
    assert settings_file.parse(text, "f") == ({}, [])
    lines = [line.removeprefix("#") if not line.startswith("# ") else line for line in text.splitlines()]
    found, problems = settings_file.parse("\n".join(lines), "f")
    assert problems == []
    assert list(found) == [setting.name for setting in SETTINGS]


def test_the_installed_template_is_up_to_date() -> None:
    assert (ROOT / "packaging" / "minibus.toml").read_text() == settings_file.template(), "run `just units`"
