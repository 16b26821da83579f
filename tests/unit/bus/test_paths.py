"""The layout of a base directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import InvalidError
from bus.paths import MAX_BASE, base_tag, context


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
