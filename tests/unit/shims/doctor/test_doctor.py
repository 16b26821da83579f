"""What is said about a host, from what was found on it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shims.cgroups import cgroup
from shims.cgroups.cgroup import Layout, Tree
from shims.cgroups.lack import Lack
from shims.doctor import base, control_groups, kernel, network, programs, rights
from shims.doctor.control_groups import CgroupFacts, Place
from shims.doctor.feature import Feature, State, lacking
from shims.doctor.modules import Module, Modules
from shims.doctor.programs import ProgramFacts
from shims.doctor.source import Source
from shims.linux import mountinfo
from tests.unit.shims.doctor.facts import BASE, CGROUPS, KERNEL, RIGHTS, machine, not_ok

NO_MODULES = Modules(Source("/nonexistent"), "6.1")
MISSING, LIMITED, UNKNOWN = State.MISSING, State.LIMITED, State.UNKNOWN


def everything_wrong() -> list[Feature]:
    """All features on a host that has nothing."""
    return [
        *kernel.judge(kernel.KernelFacts(kvm="/dev/kvm: No such file or directory")),
        *control_groups.judge(CgroupFacts()),
        *network.judge(NO_MODULES, dict.fromkeys(network.WANTED, "no"), ""),
        *programs.judge(ProgramFacts({})),
        *rights.judge(replace(RIGHTS, capabilities=0)),
        *base.judge(replace(BASE, options=frozenset(base.HARMFUL), writable=False), {"overlay": "no"}, ""),
    ]


def test_a_sound_host_lacks_nothing() -> None:
    features = [
        *kernel.judge(KERNEL),
        *control_groups.judge(CGROUPS),
        *network.judge(NO_MODULES, dict.fromkeys(network.WANTED, ""), ""),
        *programs.judge(ProgramFacts({wanted.name: "/somewhere" for wanted in programs.WANTED})),
        *rights.judge(RIGHTS),
        *base.judge(BASE, {"overlay": ""}, ""),
    ]
    assert not_ok(features) == []


def test_everything_that_is_missing_says_what_is_lost_and_what_helps() -> None:
    features = everything_wrong()
    assert all(feature.state in (MISSING, LIMITED) for feature in features if feature.name != "root")
    assert len({feature.name for feature in features}) == len(features)
    for feature in features:
        assert feature.costs, feature
        assert bool(feature.command) != bool(feature.advice), feature
        assert "\n" not in feature.costs + feature.remedy


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"release": "5.8.18"}, [("Linux 5.9", MISSING)]),
        ({"release": "5.9.0-rc1"}, []),
        ({"release": "5.10"}, []),
        ({"release": "10.0.1"}, []),
        ({"release": "odd"}, [("Linux 5.9", MISSING)]),
        ({"namespaces": KERNEL.namespaces - {"net"}}, [("net namespaces", MISSING)]),
        ({"calls": frozenset({"pidfd_open"})}, [("clone3", MISSING)]),
        ({"file_systems": KERNEL.file_systems - {"overlay"}}, [("overlay", MISSING)]),
        ({"file_systems": KERNEL.file_systems - {"fuse"}, "fuse": False}, [("FUSE", MISSING)]),
        ({"file_systems": KERNEL.file_systems - {"fuse"}, "loadable": frozenset({"fuse"})}, []),
        ({"fuse": False}, [("FUSE", MISSING)]),
        ({"file_systems": KERNEL.file_systems - {"overlay"}, "loadable": frozenset({"overlay"})}, []),
        ({"file_systems": KERNEL.file_systems - {"devpts"}}, [("devpts", MISSING)]),
        ({"tried": {"devpts": "Operation not permitted"}}, [("devpts", MISSING)]),
        ({"terminals": False}, [("pseudo-terminals", MISSING)]),
        ({"filters": False}, [("seccomp", MISSING)]),
        ({"kvm": kernel.DENIED}, [("KVM", UNKNOWN)]),
    ],
)
def test_kernels(changes: dict[str, Any], expected: list[tuple[str, State]]) -> None:
    assert not_ok(kernel.judge(replace(KERNEL, **changes))) == expected


@pytest.mark.parametrize(
    ("name", "facts", "remedy"),
    [
        ("memory", CgroupFacts(lacks={"memory": Lack("off", advice="boot without it")}), "boot without it"),
        ("pids", CgroupFacts(lacks={"pids": Lack("nowhere", "mount it")}), "mount it"),
        ("freezer", CgroupFacts(), "mount the cgroup controller freezer"),
        ("cpu", CgroupFacts({"cpu": Place(1, "/cg/cpu", read_only=True)}), "mount -o remount,rw /cg/cpu"),
    ],
)
def test_controllers(name: str, facts: CgroupFacts, remedy: str) -> None:
    (feature,) = [each for each in control_groups.judge(facts) if each.name == f"cgroup {name}"]
    assert (feature.state, feature.remedy, feature.required) == (MISSING, remedy, name == "freezer")


def test_processes_in_the_way_are_moved_by_a_launch() -> None:
    (feature,) = [
        each
        for each in control_groups.judge(CgroupFacts({"cpu": Place(2, "/cg", occupied=True)}))
        if each.name == "cgroup cpu"
    ]
    assert feature.state is State.OK
    assert feature.found == "version 2, /cg; a launch moves the processes in it aside, as the kernel wants"


@pytest.mark.parametrize(
    ("files", "occupied"),
    [
        ({}, set()),
        ({"cgroup.procs": "1\n"}, set()),  # the root of all
        ({"cgroup.type": "domain\n", "cgroup.procs": ""}, set()),
        ({"cgroup.type": "domain\n", "cgroup.procs": "1\n"}, {"memory", "pids"}),
        ({"cgroup.type": "domain\n", "cgroup.procs": "1\n", "cgroup.subtree_control": "pids cpu\n"}, {"memory"}),
    ],
)
def test_a_cgroup_with_processes_of_its_own_passes_nothing_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], occupied: set[str]
) -> None:
    tree = Tree(2, "/cg", frozenset({"freezer", "devices", "memory", "pids"}))
    monkeypatch.setattr(cgroup, "host_layout", functools.cache(lambda: Layout((tree,))))
    facts = control_groups.look(machine(tmp_path, {f"/cg/{name}": text for name, text in files.items()}))
    assert {name for name, place in facts.places.items() if place.occupied} == occupied
    assert set(facts.lacks) == {"cpu"}


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"user_namespaces": 0}, "sysctl -w user.max_user_namespaces=1024"),
        ({"namespaces": KERNEL.namespaces - {"user"}, "user_namespaces": 0}, "boot a kernel with CONFIG_USER_NS"),
    ],
)
def test_user_namespaces(changes: dict[str, Any], remedy: str) -> None:
    features = kernel.judge(replace(KERNEL, **changes))
    assert not_ok(features) == [("user namespaces", MISSING)]
    assert [feature.remedy for feature in features if feature.state is MISSING] == [remedy]
    assert not_ok(kernel.judge(replace(KERNEL, user_namespaces=7))) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"user": 1000, "capabilities": 0}, ["root"]),
        ({"capabilities": 0xA80425FB}, ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE"]),  # what Docker gives
        ({"capabilities": RIGHTS.capabilities & ~(1 << 8)}, ["CAP_SETPCAP"]),
    ],
)
def test_permissions(changes: dict[str, int], expected: list[str]) -> None:
    assert [name for name, _ in not_ok(rights.judge(replace(RIGHTS, **changes)))] == expected


def test_what_was_not_tried_is_unknown_and_what_would_load_a_module_is_there(tmp_path: Path) -> None:
    source = machine(tmp_path, {"/lib/modules/6.1/modules.dep": "kernel/net/sched/sch_netem.ko:\n"})
    features = network.judge(Modules(source, "6.1"), {"bridge": ""}, "too slow")
    found = {feature.name: (feature.state, feature.found) for feature in features}
    assert found["bridge"] == (State.OK, "")
    assert found["veth"] == (UNKNOWN, "too slow")
    assert found["netem"] == (State.OK, "the module sch_netem, loaded with its first use")


def test_in_a_container_without_a_list_of_modules_nothing_is_tried(tmp_path: Path) -> None:
    source = machine(tmp_path, {"/proc/modules": "veth 45056 0 - Live 0x0\n", "/proc/filesystems": "nodev\tproc\n"})
    modules = Modules(source, "6.1")
    assert set(network.attempts(modules)) == {"veth"}
    found = {feature.name: feature.state for feature in network.judge(modules, {"veth": ""}, "")}
    assert (found["veth"], found["netem"]) == (State.OK, UNKNOWN)
    facts = kernel.look(source, modules, {})
    assert ("overlay", UNKNOWN) in not_ok(kernel.judge(facts))
    assert facts.kvm == "the module kvm is not loaded"


@pytest.mark.parametrize(
    ("options", "tried", "expected"),
    [
        ({"noexec", "nodev"}, {"overlay": ""}, [("noexec", LIMITED), ("nodev", LIMITED)]),
        (set(), {"overlay": "Invalid argument"}, [(base.OVERLAY, MISSING)]),
        (set(), {}, [(base.OVERLAY, UNKNOWN)]),
    ],
)
def test_base_directories(options: set[str], tried: dict[str, str], expected: list[tuple[str, State]]) -> None:
    features = base.judge(replace(BASE, options=frozenset(options)), tried, "not tried")
    assert not_ok(features) == expected


def test_without_something_required_there_are_no_containers() -> None:
    assert {feature.name for feature in lacking(everything_wrong())} == {
        *("Linux 5.9", "clone3", "pidfd_open", *kernel.FILE_SYSTEMS, "pseudo-terminals", "cgroup freezer"),
        *(f"{name} namespaces" for name in kernel.NAMESPACES),
        *("CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_MKNOD", BASE.path),
    }


# ---------------------------------------------------------------- looking


def test_modules_are_found_without_loading_them(tmp_path: Path) -> None:
    source = machine(
        tmp_path,
        {
            "/proc/modules": "veth 45056 0 - Live 0x0000000000000000\n",
            "/lib/modules/6.1/modules.builtin": "kernel/net/bridge/bridge.ko\nkernel/fs/isofs.ko\n",
            "/lib/modules/6.1/modules.dep": "kernel/net/sched/sch_netem.ko.xz:\nkernel/fs/over-lay.ko: kernel/a.ko\n",
        },
    )
    modules = Modules(source, "6.1")
    names = ("veth", "bridge", "sch_netem", "over_lay", "a", "tun")
    assert [modules.state(name) for name in names] == [
        *(Module.HERE, Module.HERE, Module.LOADABLE, Module.LOADABLE, Module.NONE, Module.NONE),
    ]


def test_features_that_would_load_a_module_are_not_tried(tmp_path: Path) -> None:
    source = machine(tmp_path, {"/lib/modules/6.1/modules.dep": "kernel/net/sched/sch_netem.ko.xz:\n"})
    assert set(network.WANTED) - set(network.attempts(Modules(source, "6.1"))) == {"netem"}
    assert set(network.attempts(NO_MODULES)) == set(network.WANTED)


def test_a_made_up_kernel_is_looked_at(tmp_path: Path) -> None:
    source = machine(
        tmp_path,
        {
            "/proc/filesystems": "nodev\tsysfs\nnodev\tproc\nnodev\ttmpfs\n\text4\n",
            "/proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow\n",
            "/proc/self/ns/pid": "",
            "/lib/modules/6.1/modules.dep": "kernel/fs/overlayfs/overlay.ko.zst:\n",
        },
    )
    facts = kernel.look(source, Modules(source, "6.1"), {})
    assert facts.file_systems == {"sysfs", "proc", "tmpfs", "ext4"}
    assert (set(facts.namespaces), set(facts.loadable)) == ({"pid"}, {"overlay"})
    assert (facts.filters, facts.terminals, facts.kvm) == (True, False, "/dev/kvm: No such file or directory")


def test_a_file_that_says_nothing_sensible_is_no_number(tmp_path: Path) -> None:
    source = machine(tmp_path, {"/a": "12 x 7\n", "/b": "", "/c": "max\n", "/d": "9" * 100})
    assert [source.number("/a"), source.number("/a", 2), source.number("/a", 1), source.number("/a", 3)] == [
        *(12, 7, None, None),
    ]
    assert [source.number(name) for name in ("/b", "/c", "/d", "/none")] == [None] * 4


def test_libraries_are_found_in_the_cache_of_the_loader(tmp_path: Path) -> None:
    cache = "glibc-ld.so.cache1.1\0libpcap.so.0.8\0/lib/libpcap.so.0.8\0libx.so.1\0/usr/lib/libx.so.1\0"
    places = programs.look(machine(tmp_path, {"/etc/ld.so.cache": cache})).places
    assert places["libpcap.so.0.8"] == "/lib/libpcap.so.0.8"
    assert "libseccomp.so.2" not in places


TABLE = """\
21 1 0:1 / / rw - ext4 /dev/vda rw
22 21 0:2 / /srv ro,noexec - tmpfs tmpfs rw
23 21 0:3 / /srv/a\\040b rw,nodev - xfs /dev/vdb rw
24 21 0:4 / /srv rw - btrfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/srvx", "ext4"), ("/srv", "btrfs"), ("/srv/x/y", "btrfs"), ("/srv/a b/c", "xfs")],
)
def test_the_mount_of_a_path(path: str, kind: str) -> None:
    mounted = mountinfo.of_path(TABLE, path)
    assert mounted is not None
    assert mounted.kind == kind


def test_a_base_directory_that_does_not_exist_is_where_it_would_be_made(tmp_path: Path) -> None:
    facts = base.look(str(tmp_path / "a" / "b"), Path("/proc/self/mountinfo").read_text())
    assert facts.existing == str(tmp_path)
    (tmp_path / "link").symlink_to("/proc")
    assert base.look(str(tmp_path / "link" / "x"), "21 1 0:1 / /proc rw - proc proc rw").kind == "proc"


def test_features_have_the_same_keys_for_programs() -> None:
    keys = {"section", "name", "state", "found", "costs", "command", "advice", "required", "minor"}
    assert all(set(msgspec.to_builtins(feature)) == keys for feature in everything_wrong())
