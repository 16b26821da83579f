"""Which tree holds which controller, and what is written where."""

from __future__ import annotations

from pathlib import Path

import pytest

from shims.cgroups.cgroup import Cgroups, Layout, Limits, Tree, detect, own_path
from shims.cgroups.guest_share import GuestShare
from shims.cgroups.hierarchy import CONTROLLERS
from shims.cgroups.version_1 import HierarchyV1
from shims.cgroups.version_2 import HierarchyV2

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
SPACED = "30 23 0:26 / /mnt/a\\040b rw - cgroup2 none rw\n"
LIMITS = Limits(memory_bytes=64 << 20, vcpus=3, processes=500)
SHARE = GuestShare(processes=1000, memory_bytes=1 << 30)


def found(layout: Layout) -> dict[str, tuple[int, str]]:
    """Where each controller is."""
    return {name: (tree.version, tree.root) for tree in layout.trees for name in tree.controllers}


def test_version_1() -> None:
    layout = detect(V1, lambda root: [])
    root = "/sys/fs/cgroup"
    assert found(layout) == {
        "cpu": (1, f"{root}/cpu,cpuacct"),
        **{name: (1, f"{root}/{name}") for name in ("memory", "devices", "freezer", "pids")},
    }
    assert layout.missing == ()


def test_version_1_wins_beside_version_2() -> None:
    assert detect(V1 + UNIFIED, lambda root: ["hugetlb"]).trees == detect(V1, lambda root: []).trees


def test_each_controller_by_itself() -> None:
    some = "\n".join(line for line in V1.splitlines() if "memory" not in line and "freezer" not in line)
    layout = detect(some + "\n" + UNIFIED, lambda root: ["memory"])
    where = found(layout)
    assert where["memory"] == where["freezer"] == (2, "/sys/fs/cgroup/unified")
    assert where["cpu"][0] == where["devices"][0] == 1


def test_version_2() -> None:
    layout = detect(V2, lambda root: ["cpuset", "cpu", "io", "memory", "pids"])
    assert layout.trees == (Tree(2, "/sys/fs/cgroup", frozenset(CONTROLLERS)),)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("1:cpu:/other\n0::/system.slice/minibus.service\n", "/system.slice/minibus.service"),
        ("0::/system.slice/minibus.service/minibus-others\n", "/system.slice/minibus.service"),
        ("0::/minibus-others\n", ""),
        ("0::/\n", ""),
        ("1:cpu:/other\n", ""),
    ],
)
def test_own_cgroup(text: str, path: str) -> None:
    assert own_path(text) == path


def test_a_place_below_the_mount_point() -> None:
    layout = detect(V2, lambda root: ["memory"] if root.endswith("/mine") else [], lambda root: f"{root}/mine")
    assert found(layout)["memory"] == (2, "/sys/fs/cgroup/mine")
    assert layout.version_2 == "/sys/fs/cgroup/mine"


def test_what_is_missing_is_said() -> None:
    layout = detect(SPACED, lambda root: ["memory"])
    assert found(layout)["memory"] == (2, "/mnt/a b")
    assert layout.missing == ("cpu", "pids")
    assert Cgroups(layout, "abcd").warnings == (
        "the number of CPUs is not limited: this kernel has no cgroup controller cpu; boot a kernel that has it",
        "the number of processes is not limited: this kernel has no cgroup controller pids; boot a kernel that has it",
    )


@pytest.mark.parametrize("text", ["", "rubbish", "1 2 3 4", "31 23 0:28 / /x rw - cgroup"])
def test_other_text(text: str) -> None:
    assert detect(text, lambda root: []).trees == ()


def test_a_host_that_cannot_freeze() -> None:
    with pytest.raises(OSError, match="neither a cgroup freezer nor cgroup version 2"):
        Cgroups(Layout(()), "abcd").prepare()


@pytest.mark.parametrize(
    ("controllers", "expected"),
    [
        ({"memory"}, [("memory.limit_in_bytes", b"67108864")]),
        ({"cpu"}, [("cpu.cfs_quota_us", b"300000")]),
        ({"freezer", "pids"}, [("pids.max", b"500")]),
    ],
)
def test_settings_of_version_1(controllers: set[str], expected: list[tuple[str, bytes]]) -> None:
    assert HierarchyV1("/r", controllers, "abcd").settings(LIMITS) == expected


def test_device_rules_of_version_1() -> None:
    settings = HierarchyV1("/r", {"devices"}, "abcd").settings(LIMITS)
    assert settings[0] == ("devices.deny", b"a")
    assert settings[1] == ("devices.allow", b"c 1:3 rwm")
    assert ("devices.allow", b"c 10:200 rwm") in settings
    assert len(settings) == 12


def test_settings_of_version_2() -> None:
    tree = HierarchyV2("/r", {"memory", "cpu", "freezer", "devices", "pids"}, "abcd")
    assert tree.settings(LIMITS) == [("memory.max", b"67108864"), ("cpu.max", b"300000 100000"), ("pids.max", b"500")]


class TestOnFiles:
    """The files themselves, on an ordinary directory in place of the kernel's."""

    def test_version_1_states(self, tmp_path: Path) -> None:
        tree = HierarchyV1(str(tmp_path), {"freezer", "memory"}, "abcd")
        group = tmp_path / "minibus/abcd/7"
        group.mkdir(parents=True)
        state = group / "freezer.state"
        state.write_text("THAWED\n")
        tree.freeze("7")
        assert state.read_text().startswith("FROZEN")
        for text, frozen in (("FROZEN\n", True), ("FREEZING\n", False), ("THAWED\n", False)):
            state.write_text(text)
            assert tree.is_frozen("7") is frozen
        (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
        assert tree.oom_kills("7") == 3
        (group / "memory.oom_control").write_text("oom_kill_disable 0\n")
        assert tree.oom_kills("7") == 0
        (group / "cgroup.procs").write_text("12\n13\n")
        assert tree.pids("7") == [12, 13]
        assert tree.pids("8") == []
        assert tree.names() == ["7"]

    def test_version_2_states(self, tmp_path: Path) -> None:
        tree = HierarchyV2(str(tmp_path), {"freezer", "memory"}, "abcd")
        group = tmp_path / "minibus/abcd/7"
        group.mkdir(parents=True)
        (group / "cgroup.freeze").write_text("0")
        tree.freeze("7")
        assert (group / "cgroup.freeze").read_text() == "1"
        tree.thaw("7")
        assert (group / "cgroup.freeze").read_text() == "0"
        for text, frozen in (("populated 1\nfrozen 1\n", True), ("populated 1\nfrozen 0\n", False)):
            (group / "cgroup.events").write_text(text)
            assert tree.is_frozen("7") is frozen
        (group / "memory.events").write_text("low 0\noom 2\noom_kill 1\noom_group_kill 0\n")
        assert tree.oom_kills("7") == 1

    def test_a_failure_leaves_no_tree(self, tmp_path: Path) -> None:
        layout = Layout(
            (Tree(2, str(tmp_path / "a"), frozenset({"freezer"})), Tree(1, str(tmp_path / "b"), frozenset({"memory"})))
        )
        for name in ("a", "b"):
            (tmp_path / name / "minibus/abcd").mkdir(parents=True)
        with pytest.raises(OSError, match=r"memory\.limit_in_bytes"):  # no kernel makes that file here
            Cgroups(layout, "abcd").create("7", LIMITS)
        assert Cgroups(layout, "abcd").names() == set()

    def test_bases_go_only_when_empty(self, tmp_path: Path) -> None:
        groups = Cgroups(Layout((Tree(2, str(tmp_path), frozenset({"freezer"})),)), "abcd")
        (tmp_path / "minibus/abcd/7").mkdir(parents=True)
        (tmp_path / "minibus/wxyz").mkdir()
        groups.remove_base()
        assert (tmp_path / "minibus/abcd/7").exists()
        assert groups.remove("7")
        assert groups.remove("7")  # gone is gone
        groups.remove_base()
        assert [entry.name for entry in (tmp_path / "minibus").iterdir()] == ["wxyz"]


class TestWhatCannotBeUsed:
    """Version 2 on an ordinary directory in place of the kernel's."""

    def tree(self, root: Path) -> HierarchyV2:
        for path in (root, root / "minibus", root / "minibus/abcd"):
            path.mkdir(exist_ok=True)
            (path / "cgroup.subtree_control").write_text("")
        (root / "cgroup.procs").write_text("")
        (root / "minibus/memory.max").write_text("max")
        return HierarchyV2(str(root), {"freezer", "cpu", "memory"}, "abcd")

    def refuse(self, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
        """Have the kernel refuse a controller."""

        def write(path: str, value: bytes) -> None:
            if name in value:
                raise OSError(22, "Invalid argument", path)
            Path(path).write_bytes(value)

        monkeypatch.setattr("shims.cgroups.version_2.write_file", write)

    def test_one_controller_is_no_loss_of_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tree = self.tree(tmp_path)
        self.refuse(monkeypatch, b"+cpu")
        tree.prepare(SHARE)
        assert tree.controllers == {"freezer", "memory"}
        assert tree.lost == {"cpu": "Invalid argument"}
        assert (tmp_path / "minibus/cgroup.subtree_control").read_text() == "+memory"
        assert [file for file, _ in tree.settings(LIMITS)] == ["memory.max"]

    def test_another_attempt_may_succeed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tree = self.tree(tmp_path)
        self.refuse(monkeypatch, b"+cpu")
        tree.prepare(SHARE)
        monkeypatch.undo()
        tree.prepare(SHARE)
        assert tree.lost == {}
        assert "cpu" in tree.controllers

    def test_processes_that_cannot_be_moved(self, tmp_path: Path) -> None:
        tree = self.tree(tmp_path)
        (tmp_path / "cgroup.type").write_text("domain\n")
        (tmp_path / "cgroup.procs").write_text("1\n")
        tree.prepare(SHARE)
        assert tree.controllers == {"freezer"}
        assert tree.lost["memory"] == (
            f"Device or resource busy; move the processes in {tmp_path} itself into a cgroup below it"
        )
