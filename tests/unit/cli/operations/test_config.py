"""`minibus config`, and the flags of `up`, which are the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bus.settings.settings import BY_NAME, SETTINGS, Kind, Setting
from cli.arguments import SWITCHES, VALUES, UsageError
from cli.operations.config import config
from cli.subcommands import SUBCOMMANDS
from cli.up_usage import FORMS
from cli.usage import usage


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_its_flag(setting: Setting) -> None:
    assert setting.flag in (SWITCHES if setting.kind is Kind.SWITCH else VALUES)
    assert setting.flag in (*SUBCOMMANDS["up"], "base")
    assert setting.flag in (*SUBCOMMANDS["config"], "base")
    assert f"-{setting.flag}" in usage("up")


def test_the_help_fits_a_terminal() -> None:
    assert max(map(len, usage("up").splitlines())) <= 80


def test_the_help_says_what_a_value_looks_like() -> None:
    assert set(FORMS) <= set(BY_NAME)
    assert {"  --listen tcp://ADDRESS:PORT", "  --vlan-range MIN-MAX"} <= set(usage("up").splitlines())
    assert "TEXT" not in usage("up")


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "minibus.toml"
    file.write_text("[log]\nlevel = 'debug'\n")
    assert config(["check", str(file)], {}) == 0
    assert "makes 1 of" in capsys.readouterr().out
    file.write_text("[log]\nlevle = 'debug'\nfile = 1\n")
    assert config(["check"], {"config": str(file)}) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(f"{file}: ")[2][:6] for line in said.err.splitlines()] == ["line 2", "line 3"]
    assert config(["check", str(tmp_path / "none")], {}) == 1
    assert "cannot read" in capsys.readouterr().err


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "minibus.toml"
    file.write_text("[log]\nlevel = 'debug'\nfile = '/l'\n")
    monkeypatch.setenv("MINIBUS_CONFIG", str(file))
    monkeypatch.setenv("MINIBUS_LOG_LEVEL", "warn")
    assert config(["show"], {"json": "true", "base": "/b"}) == 0
    found = {one["setting"]: (one["value"], one["from"]) for one in json.loads(capsys.readouterr().out)}
    assert found["log.level"] == ("warn", "MINIBUS_LOG_LEVEL")
    assert found["log.file"] == ("/l", str(file))
    assert found["host.base"] == ("/b", "--base")
    assert found["log.format"] == ("json", "default")
    assert config(["show"], {}) == 0
    assert "log.level" in capsys.readouterr().out
    assert config(["show"], {"level": "loud"}) == 1
    assert capsys.readouterr().err.startswith("minibus: --level: unknown log level")


@pytest.mark.parametrize("words", [[], ["chek"], ["show", "x"], ["template", "x"]])
def test_what_else_is_said_makes_no_sense(words: list[str]) -> None:
    with pytest.raises(UsageError, match="config needs one of"):
        config(words, {})
