from __future__ import annotations

import pytest

from cli.answers.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.35, "350ms"),
        (1, "1s"),
        (63.2, "1m3.2s"),
        (59.9999, "1m0s"),
        (1393.72, "23m13.72s"),
        (52 * 3600 + 120, "52h2m0s"),
        (-1.5, "-1.5s"),
    ],
)
def test_as_go_writes_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("200ms", 0.2),
        ("1.0s", 1.0),
        ("1m30s", 90.0),
        ("1h2m3.5s", 3723.5),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("-1.5h", -5400.0),
        ("+3us", 3e-6),
        ("3\u00b5s", 3e-6),
        ("3\u03bcs", 3e-6),
        ("7ns", 7e-9),
    ],
)
def test_what_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", ".s", "1 s", "1S", "1s2", "--1s", "1d", "1e3s", "\u0661s", "1s" * 60])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)
