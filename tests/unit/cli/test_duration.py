from __future__ import annotations

import pytest

from cli.duration import format_duration


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
