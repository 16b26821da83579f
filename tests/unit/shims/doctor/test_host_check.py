"""What the command `check` says of all that is known of a host."""

from __future__ import annotations

from dataclasses import replace

import psutil

from shims.doctor import capacity, host_check, kernel, limits, rights
from shims.doctor.capacity import Guest
from tests.unit.shims.doctor.facts import FIGURES, KERNEL, RIGHTS


def test_what_is_required_comes_first_and_what_is_there_last() -> None:
    features = [
        *rights.judge(RIGHTS),
        *kernel.judge(replace(KERNEL, filters=False, calls=frozenset({"pidfd_open"}))),
    ]
    found = host_check.findings(features)
    assert [(each.name, each.present, each.required) for each in found[:3]] == [
        *(("clone3", False, True), ("seccomp", False, False), ("root", True, True)),
    ]
    assert all(finding.disables and (finding.remedy or finding.present) for finding in found)


def test_what_nothing_of_today_needs_is_left_out() -> None:
    features = [*rights.judge(replace(RIGHTS, capabilities=0)), *kernel.judge(replace(KERNEL, kvm="no"))]
    names = {finding.name for finding in host_check.findings(features)}
    assert "CAP_SYS_ADMIN" in names
    assert not {"CAP_SYS_RESOURCE", "KVM"} & names


def test_few_descriptors_are_told() -> None:
    room = capacity.capacity(replace(FIGURES, descriptors=1024), Guest())
    names = [finding.name for finding in host_check.findings(limits.tight(room))]
    assert names == [f"open files of the process {name}" for name in ("container", "warden", "cc", "node")]


def test_this_host_can_be_looked_at_again_and_again() -> None:
    before = psutil.Process().num_fds()
    first = host_check.check()
    assert host_check.check() == first
    assert {"root", "overlay", "cgroup freezer"} <= {finding.name for finding in first}
    assert psutil.Process().num_fds() == before
