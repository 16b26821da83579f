"""The token of actors: made once, whole, for root alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bus.broker import hello_token


def test_it_is_made_once_and_read_by_all(tmp_path: Path) -> None:
    assert hello_token.read(tmp_path) == ""
    token = hello_token.make(tmp_path)
    assert len(token) == hello_token.LENGTH
    assert hello_token.make(tmp_path) == hello_token.read(tmp_path) == token
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["", "short", "f" * 63, "ü" * 64, "f" * 65])
def test_a_damaged_one_counts_as_none_and_is_made_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "token").write_text(damage)
    (tmp_path / "token.new").write_text("of a broker that was killed")
    assert hello_token.read(tmp_path) == ""
    assert len(hello_token.make(tmp_path)) == hello_token.LENGTH


@pytest.mark.parametrize(("shown", "is_same"), [("a", True), ("", False), ("b", False), ("ä", False), ("aa", False)])
def test_only_the_same_is_the_same(shown: str, is_same: bool) -> None:
    assert hello_token.is_same(shown, "a") is is_same
