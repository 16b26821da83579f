"""Whom a base directory is shared with, and what others are told."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest

from bus.access import group
from bus.errors import InvalidError

OWN = os.getegid()


@pytest.mark.parametrize(
    ("wanted", "found"), [("none", None), ("0", 0), ("54321", 54321), (grp.getgrgid(OWN).gr_name, OWN)]
)
def test_a_name_or_a_number(monkeypatch: pytest.MonkeyPatch, wanted: str, found: int | None) -> None:
    monkeypatch.setenv(group.GROUP, wanted)
    assert group.group_id() == found


@pytest.mark.parametrize("wanted", ["no-such-group", "4294967295", "-1", "1" * 11, "a\0b", "x" * 5000])
def test_what_is_no_group_is_said(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    if "\0" in wanted:
        monkeypatch.setattr(os, "environ", {group.GROUP: wanted})
    else:
        monkeypatch.setenv(group.GROUP, wanted)
    with pytest.raises(InvalidError, match="there is no group"):
        group.group_id()


def test_without_the_usual_group_root_alone_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(group.GROUP, raising=False)
    monkeypatch.setattr(group, "DEFAULT", "a-group-that-nobody-has")
    assert group.group_id() is None


@pytest.mark.parametrize(("members", "mode"), [(None, 0o600), (OWN, 0o660)])
def test_a_file_is_shared_or_not(tmp_path: Path, members: int | None, mode: int) -> None:
    file = tmp_path / "requests"
    file.touch(0o777)
    group.share(file, members, alone=0o600, shared=0o660)
    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("before", "members", "after"),
    [(0o700, OWN, 0o710), (0o700, None, 0o700), (0o755, OWN, 0o755), (0o710, OWN, 0o710), (0o750, OWN, 0o750)],
)
def test_the_way_to_it_is_opened_where_it_is_closed(tmp_path: Path, before: int, members: int, after: int) -> None:
    tmp_path.chmod(before)
    group.let_through(tmp_path, members)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == after


def test_who_may_not_is_told_whom_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert group.denied(tmp_path / "gone").startswith("user 54321 may not use minibus on")
    assert group.denied(tmp_path).endswith("only root may, since there is no group that it is shared with")
    if os.getuid() == 0:
        os.chown(tmp_path, -1, 54322)
        tmp_path.chmod(0o710)
        assert group.denied(tmp_path).endswith(": ask root to add you to the group 54322")
