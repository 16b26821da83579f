"""The range of VLANs that a host is started with."""

from __future__ import annotations

import pytest

from bus.errors import InvalidError
from bus.settings.vlan_range import DEFAULT_RANGE, VLAN_RANGE, parse_range, wanted


@pytest.mark.parametrize(("text", "found"), [("101-4096", (101, 4096)), ("0-1", (0, 1)), ("4095-4096", (4095, 4096))])
def test_a_range(text: str, found: tuple[int, int]) -> None:
    assert parse_range(text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("5", "`5` is no range of VLANs: expected MIN-MAX, such as 101-4096"),
        ("-1-5", "`-1-5` is no range of VLANs: expected MIN-MAX, such as 101-4096"),
        ("1-999999", "`1-999999` is no range of VLANs: expected MIN-MAX, such as 101-4096"),
        ("5-5", "expected min < max: 5 is not below 5"),
        ("1-4097", "a range of VLANs is within 0 and 4096, its end not included, not 1 to 4097"),
    ],
)
def test_no_range(text: str, sentence: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_range(text)
    assert str(caught.value) == sentence


def test_what_the_node_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VLAN_RANGE, raising=False)
    assert wanted() == DEFAULT_RANGE
    monkeypatch.setenv(VLAN_RANGE, "7-9")
    assert wanted() == (7, 9)
