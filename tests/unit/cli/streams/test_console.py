"""`minibus console`: what of earlier output is not shown again."""

from __future__ import annotations

import pytest

from cli.streams.console_terminal import QueryFilter, without_queries


@pytest.mark.parametrize(
    "query",
    [
        b"\x1b[6n",
        b"\x1b[5n",
        b"\x1b[?6n",
        b"\x1b[c",
        b"\x1b[0c",
        b"\x1b[>c",
        b"\x1b[=0c",
        b"\x1b[?25$p",
        b"\x1b[18t",
        b"\x1b[21t",
        b"\x1b]11;?\x07",
        b"\x1b]4;1;?\x1b\\",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1bZ",
        b"\x05",
    ],
)
def test_what_a_terminal_would_answer_is_left_out(query: bytes) -> None:
    assert without_queries(b"before" + query + b"after") == b"beforeafter"


@pytest.mark.parametrize(
    "output",
    [
        b"text with [6n and c\r\n",
        b"\x1b[31mred\x1b[0m",
        b"\x1b[2J\x1b[10;20H",
        b"\x1b[?1049h\x1b[?25l",
        b"\x1b]0;title\x07",
        b"\x1b[8;24;80t",
        b"\x1b[1t",
        "€ ünï\n".encode(),
        bytes(range(6, 27)),
        b"\x1b",
        b"\x1b[",
        b"\x1b[6",
    ],
)
def test_all_else_is_left_alone(output: bytes) -> None:
    assert without_queries(output) == output


@pytest.mark.parametrize("size", range(1, 9))
def test_a_query_that_comes_in_pieces_is_left_out(size: int) -> None:
    said = "a\x1b[6nb\x1b]11;?\x07c\x1bP$qm\x1b\\d\x1b[31me\x1b[?25$pf€g\x1b[10;5Hh".encode()
    strainer = QueryFilter()
    shown = b"".join(strainer.feed(said[start : start + size]) for start in range(0, len(said), size))
    assert shown == "abcd\x1b[31mef€g\x1b[10;5Hh".encode()


def test_what_never_ends_is_not_held_for_ever() -> None:
    strainer = QueryFilter()
    shown = b"".join(strainer.feed(b"\x1b]0;" + b"x" * 50) for _ in range(100))
    assert len(shown) > 5000
