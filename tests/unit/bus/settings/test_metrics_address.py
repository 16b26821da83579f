"""Where metrics are served."""

from __future__ import annotations

import pytest

from bus.errors import InvalidError
from bus.settings.metrics_address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("9100", "127.0.0.1", 9100, "127.0.0.1:9100"),
        ("0", "127.0.0.1", 0, "127.0.0.1:0"),
        ("10.0.0.1:65535", "10.0.0.1", 65535, "10.0.0.1:65535"),
        ("[::1]:80", "::1", 80, "[::1]:80"),
    ],
)
def test_an_address(text: str, host: str, port: int, shown: str) -> None:
    address = parse_address(text)
    assert address == Address(host, port)
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    ["", ":", "x", ":80", "65536", "-1", "1.2.3.4", "host:80", "::1:80", "[1.2.3.4]:80", "[::1", "1.2.3.4:8\u0660"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidError, match="expected PORT, ADDRESS:PORT or"):
        parse_address(text)
