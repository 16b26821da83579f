"""Which limits of users differ inside."""

from __future__ import annotations

import resource
from resource import RLIM_INFINITY

import pytest

from shims.container.setup.user_limits import Limit, limits_inside

PLAIN = {
    resource.RLIMIT_SIGPENDING: (1000, 1000),
    resource.RLIMIT_MSGQUEUE: (100, 800),
    resource.RLIMIT_RTPRIO: (0, 0),
    resource.RLIMIT_NICE: (0, 0),
}
HALVES = ((resource.RLIMIT_SIGPENDING, 500, 500), (resource.RLIMIT_MSGQUEUE, 100, 400))


@pytest.mark.parametrize(
    ("changes", "core_pattern", "descriptors", "expected"),
    [
        ({}, "core", None, HALVES),
        ({}, "", (1024, 4096), ((resource.RLIMIT_NOFILE, 1024, 4096), *HALVES)),
        ({}, "|/usr/lib/systemd/systemd-coredump %P", None, (*HALVES, (resource.RLIMIT_CORE, 1, 1))),
        ({}, "/var/crash/%e", None, (*HALVES, (resource.RLIMIT_CORE, 1, 1))),
        ({resource.RLIMIT_SIGPENDING: (RLIM_INFINITY, RLIM_INFINITY)}, "core", None, HALVES[1:]),
        ({resource.RLIMIT_RTPRIO: (0, 99)}, "core", None, (*HALVES, (resource.RLIMIT_RTPRIO, 0, 0))),
        ({resource.RLIMIT_NICE: (20, 20)}, "core", None, (*HALVES, (resource.RLIMIT_NICE, 0, 0))),
    ],
)
def test_limits(
    changes: dict[int, tuple[int, int]],
    core_pattern: str,
    descriptors: tuple[int, int] | None,
    expected: tuple[Limit, ...],
) -> None:
    assert limits_inside(descriptors, core_pattern, lambda which: (PLAIN | changes)[which]) == expected
