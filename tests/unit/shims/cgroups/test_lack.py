"""Why a controller is missing, and what is said about it."""

from __future__ import annotations

import errno
import os

import pytest

from shims.cgroups.lack import explain, kernel_controllers, lack

TEXT = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t63\t0\nrubbish\n"
ROOT = "/sys/fs/cgroup"


def test_what_the_kernel_has() -> None:
    assert kernel_controllers(TEXT) == {"cpu": True, "memory": False}
    assert kernel_controllers("") == {}


@pytest.mark.parametrize(
    ("name", "version_2", "expected"),
    [
        ("memory", ROOT, "cgroup_disable=memory switches this controller off; boot without it"),
        ("pids", ROOT, "this kernel has no cgroup controller pids; boot a kernel that has it"),
        ("cpu", ROOT, f"the cgroup above {ROOT} does not pass the controller cpu on; write +cpu to its "
                      "cgroup.subtree_control, from outside"),
        ("cpu", "", "the cgroup controller cpu is mounted nowhere; "
                    f"run `mkdir -p {ROOT}/cpu && mount -t cgroup -o cpu cgroup {ROOT}/cpu`"),
        ("freezer", "", f"cgroup version 2 is not mounted; run `mount -t cgroup2 none {ROOT}`"),
        ("devices", "", f"cgroup version 2 is not mounted; run `mount -t cgroup2 none {ROOT}`"),
    ],
)  # fmt: skip
def test_why_it_is_missing(name: str, version_2: str, expected: str) -> None:
    assert str(lack(name, kernel_controllers(TEXT), version_2)) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EROFS, f"Read-only file system; run `mount -o remount,rw {ROOT}`, or run minibus on the host itself or "
                      "in a privileged container"),
        (errno.EBUSY, f"Device or resource busy; move the processes in {ROOT} itself into a cgroup below it"),
        (errno.EIO, "Input/output error"),
    ],
)  # fmt: skip
def test_what_the_kernel_said(number: int, expected: str) -> None:
    assert explain(OSError(number, os.strerror(number), f"{ROOT}/minibus"), ROOT) == expected
