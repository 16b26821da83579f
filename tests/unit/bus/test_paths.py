"""The layout of a base directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import InvalidError
from bus.paths import FILES, MAX_BASE, START_FLAGS, base_tag, context, start_flags


def test_a_base_gives_the_names_that_others_rely_on() -> None:
    paths = context(Path("/srv/x")).paths
    assert [str(path) for path in (paths.requests, paths.events, paths.publish, paths.command_socket)] == [
        "/srv/x/bus/requests",
        "/srv/x/bus/events",
        "/srv/x/bus/publish",
        "/srv/x/minimega",
    ]


def test_the_tag_is_short_and_differs_by_base() -> None:
    tags = {base_tag(Path(f"/tmp/base{n}")) for n in range(200)}
    assert len(tags) == 200
    assert all(len(tag) == 4 and set(tag) <= set("abcdefghijklmnopqrstuvwxyz234567") for tag in tags)
    assert base_tag(Path("/tmp/a")) == base_tag(Path("/tmp/a"))


def test_a_base_that_leaves_no_room_for_a_socket_is_refused() -> None:
    longest = Path("/" + "x" * (MAX_BASE - 1))
    assert len(str(context(longest).paths.requests)) < 107
    with pytest.raises(InvalidError, match="longer than 80 bytes"):
        context(Path(f"{longest}x"))


def test_the_file_area_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILES, raising=False)
    assert context(Path("/srv/x")).files_dir == Path("/srv/x/files")
    monkeypatch.setenv(FILES, "/images")
    assert context(Path("/srv/x")).files_dir == Path("/images")


@pytest.mark.parametrize(
    ("noted", "flags"),
    [
        ('{"port": "9000", "msa": 10}', {"port": "9000", "msa": "10"}),
        ("", {}),
        ("{", {}),
        ("[1]", {}),
    ],
)
def test_start_flags(monkeypatch: pytest.MonkeyPatch, noted: str, flags: dict[str, str]) -> None:
    monkeypatch.setenv(START_FLAGS, noted)
    assert start_flags() == flags
