"""What is said about a host, from what was found on it."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from shims import host_check
from shims.host_check import Facts, judge, look

SOUND = Facts(
    user=0,
    capabilities=(1 << 41) - 1,
    kernel="6.1.0-13-amd64",
    namespaces=frozenset(host_check.NAMESPACES),
    file_systems=frozenset({*host_check.FILE_SYSTEMS, "overlay"}),
    controllers=frozenset({"freezer", "memory", "devices", "cpu", "pids"}),
    terminals=True,
    seccomp=True,
    libseccomp=True,
    descriptors=1 << 20,
)


def missing(**changes: Any) -> list[tuple[str, bool]]:
    """Name and necessity of what is missing on a sound host but for these changes."""
    return [(found.name, found.required) for found in judge(replace(SOUND, **changes)) if not found.present]


def test_a_sound_host_lacks_nothing() -> None:
    assert missing() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"user": 1000}, [("root", True)]),
        ({"user": 1000, "capabilities": 0}, [("root", True)]),
        ({"capabilities": 0xA80425FB}, [("CAP_SYS_ADMIN", True)]),  # what Docker gives
        ({"kernel": "5.8.18"}, [("Linux 5.9", True)]),
        ({"kernel": "5.9.0-rc1"}, []),
        ({"kernel": "5.10"}, []),
        ({"kernel": "10.0.1"}, []),
        ({"kernel": "odd"}, [("Linux 5.9", True)]),
        ({"namespaces": SOUND.namespaces - {"net"}}, [("net namespaces", True)]),
        ({"file_systems": SOUND.file_systems - {"overlay"}}, [("overlay", False)]),
        ({"file_systems": SOUND.file_systems - {"devpts"}}, [("devpts", True)]),
        (
            {"controllers": frozenset({"freezer"})},
            [(f"cgroup {n}", False) for n in ("memory", "devices", "cpu", "pids")],
        ),
        ({"controllers": SOUND.controllers - {"freezer"}}, [("cgroup freezer", True)]),
        ({"terminals": False}, [("pseudo-terminals", True)]),
        ({"seccomp": False}, [("seccomp", False)]),
        ({"libseccomp": False}, [("libseccomp", False)]),
        ({"descriptors": 1024}, [("4096 open files", False)]),
        ({"libseccomp": False, "terminals": False}, [("pseudo-terminals", True), ("libseccomp", False)]),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], expected: list[tuple[str, bool]]) -> None:
    assert missing(**changes) == expected


def test_every_finding_says_what_is_lost_and_what_helps() -> None:
    nothing = Facts(1, 0, "1.0", frozenset(), frozenset(), frozenset(), False, False, False, 10)
    findings = judge(nothing)
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.disables, finding
        assert finding.remedy, finding
        assert "\n" not in finding.disables + finding.remedy


def test_this_host_is_looked_up() -> None:
    facts = look()
    assert facts.user == os.geteuid()
    assert facts.kernel == os.uname().release
    assert {"proc", "tmpfs"} <= facts.file_systems
    assert facts.namespaces == set(host_check.NAMESPACES)
    assert facts.descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    status = Path("/proc/self/status").read_text()
    assert facts.capabilities == int(re.findall(r"^CapPrm:\s*(\w+)", status, re.MULTILINE)[0], 16)


def test_looking_leaves_no_descriptor_open() -> None:
    before = psutil.Process().num_fds()
    look()
    assert psutil.Process().num_fds() == before
