"""Addresses of actors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.address import Address, parse_address
from bus.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vm", Address("vm")),
        ("vm@kn1", Address("vm", "kn1")),
        ("peer-00ab@host-1.example", Address("peer-00ab", "host-1.example")),
        ("a" * 64, Address("a" * 64)),
    ],
)
def test_parses(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "@", "vm@", "@kn1", "vm@a@b", "v m", "vm/x", "vm\n", "vm@kn1\n", "ä", "a" * 65])
def test_refuses_with_one_sentence(text: str) -> None:
    with pytest.raises(InvalidError, match="expected actor or actor@host") as caught:
        parse_address(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=200))
def test_any_text_is_an_address_or_invalid(text: str) -> None:
    with contextlib.suppress(InvalidError):
        assert str(parse_address(text)) == text


def test_fills_in_a_host_only_where_none_is_named() -> None:
    assert Address("vm").on("kn1") == Address("vm", "kn1")
    assert Address("vm", "kn2").on("kn1") == Address("vm", "kn2")
