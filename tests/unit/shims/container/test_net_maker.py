"""Which ids the guests' user namespace knows."""

from __future__ import annotations

import pytest

from shims.container.net_maker import identity_map


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("         0          0 4294967295\n", b"0 0 4294967295\n"),
        ("0 100000 65536\n70000 1000 1\n", b"0 0 65536\n70000 70000 1\n"),  # where minibus is in one itself
        ("", b""),
    ],
)
def test_every_id_that_the_host_knows_is_itself(own: str, expected: bytes) -> None:
    assert identity_map(own) == expected
