"""What is refused by looking at the request, and what the set-up is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shims.container.protocol import ContainerSpec, Volume
from shims.container.setup.plan import Planner, RefusedError, check_host, check_spec, overlay_options, plan_volumes
from shims.linux.capability import CONTAINER_MASK, CapabilityDrop
from shims.linux.mount import escape_option


def spec(**changes: Any) -> ContainerSpec:
    """A good request, with changes."""
    values: dict[str, Any] = {
        "guest_id": 4,
        "tag": "ab2d",
        "instance_dir": "/b/4",
        "filesystem": "/fs",
        "hostname": "web",
        "uuid": "u",
    }
    return ContainerSpec(**(values | changes))


def test_a_good_one() -> None:
    check_spec(spec())


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"guest_id": -1}, "negative number"),
        ({"filesystem": ""}, "without a configured filesystem"),
        ({"memory_mib": 3}, "at least 4 MiB"),
        ({"memory_mib": -5}, "at least 4 MiB"),
        ({"memory_mib": 1 << 40}, "more than any host has"),
        ({"vcpus": 0}, "vcpus"),
        ({"vcpus": 5000}, "vcpus"),
        ({"fifos": 1025}, "fifos"),
        ({"init": ("",)}, "init is empty"),
        ({"hostname": ""}, "host name"),
        ({"hostname": "ä" * 33}, "host name"),
        ({"hostname": "a\0b"}, "NUL"),
        ({"instance_dir": "4"}, "instance directory 4 is not an absolute path"),
        ({"preinit": "x"}, "preinit x is not an absolute path"),
        ({"volumes": (Volume(source="", target="/x"),)}, "volume source of no name is not an absolute path"),
        ({"volumes": (Volume(source="/x", target="a/../.."),)}, "root cannot be a volume target"),
        ({"volumes": (Volume(source="/x", target=""),)}, "root cannot be a volume target"),
        ({"tag": "../.."}, "a tag is four letters or digits"),
    ],
)
def test_refusals(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_spec(spec(**changes))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_host(tmp_path: Path) -> None:
    check_host(spec(filesystem=str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError, match="is not a directory"):
        check_host(spec(filesystem=str(tmp_path / "file")))
    with pytest.raises(RefusedError, match="does not exist"):
        check_host(spec(filesystem=str(tmp_path / "none")))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RefusedError, match=r"cannot be read: Too many levels|is not a directory"):
        check_host(spec(filesystem=str(tmp_path / "loop")))


@pytest.mark.parametrize(
    ("target", "inside"),
    [("/mnt", b"/mnt"), ("mnt", b"/mnt"), ("//a//b/", b"/a/b"), ("/a/../b", b"/b"), ("/../../etc", b"/etc")],
)
def test_volume_targets(target: str, inside: bytes, tmp_path: Path) -> None:
    (volume,) = plan_volumes(spec(volumes=(Volume(source=str(tmp_path), target=target),)))
    assert volume.target == inside
    assert volume.is_directory


@pytest.mark.parametrize(
    ("path", "escaped"), [("/a b", b"/a b"), ("/a,b:c", b"/a\\,b\\:c"), ("/a\\b", b"/a\\\\b"), ("/ü", b"/\xc3\xbc")]
)
def test_escapes(path: str, escaped: bytes) -> None:
    assert escape_option(path) == escaped
    assert overlay_options(path) == b"lowerdir=" + escaped + b",upperdir=fs,workdir=fs_work"


def test_a_path_too_long_for_the_kernel() -> None:
    with pytest.raises(RefusedError, match="too long"):
        overlay_options("/" + "x" * 4096)


def plan_of(**changes: Any) -> Any:
    """A plan on a host without seccomp."""
    planner = Planner(CapabilityDrop(), "libseccomp is missing")
    return planner.plan(spec(**changes), console=b"/dev/pts/3", procs_files=("/c/procs",), warnings=("no cpu",))


def test_plan() -> None:
    plan = plan_of(init=("/init", "ü"), uuid="1-2")
    assert plan.overlay_source == b"minibus_ab2d_4"
    assert plan.init == (b"/init", "ü".encode())
    assert plan.uuid == b"1-2\n"
    assert plan.warnings[0] == "no cpu"
    assert "system calls are not filtered: libseccomp is missing" in plan.warnings
    assert plan_of(snapshot=False).overlay_options is None
    assert not any("filtered" in warning for warning in plan_of(seccomp=False).warnings)


def test_capabilities() -> None:
    assert CONTAINER_MASK == 0xE80435FF
    assert CapabilityDrop().mask & ~CONTAINER_MASK == 0
