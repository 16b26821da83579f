"""What is left to the host."""

from __future__ import annotations

import pytest

from shims.cgroups.guest_share import read_share, share_of

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(
    ("memory_bytes", "kept"),
    [(100 * GIB, 10 * GIB), (2 * GIB, 256 * MIB), (512 * MIB, 256 * MIB), (256 * MIB, 128 * MIB)],
)
def test_memory(memory_bytes: int, kept: int) -> None:
    assert share_of(pid_max=100, threads_max=100, memory_bytes=memory_bytes).memory_bytes == memory_bytes - kept


def test_memory_is_whole_mebibytes() -> None:
    assert share_of(pid_max=100, threads_max=100, memory_bytes=24 * GIB + 12345).memory_bytes % MIB == 0


@pytest.mark.parametrize(
    ("pid_max", "threads_max", "expected"), [(32768, 100_000, 24576), (4_194_304, 1000, 750), (1, 1, 1)]
)
def test_processes(pid_max: int, threads_max: int, expected: int) -> None:
    assert share_of(pid_max=pid_max, threads_max=threads_max, memory_bytes=GIB).processes == expected


def test_this_host() -> None:
    share = read_share()
    assert 0 < share.processes < 1 << 22
    assert share.memory_bytes > 64 * MIB
