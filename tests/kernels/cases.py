"""The guests: boot parameters of each, what is mounted before anything is run, and which tests run in it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from tests.kernels.kernel import ROOT

MODULES: Final = (
    *("overlay", "bridge", "veth", "8021q", "sch_tbf", "sch_netem"),
    *("sch_ingress", "cls_bpf", "nf_tables", "nft_meta_bridge", "nft_limit", "nft_dup_netdev"),
    "nft_fib_netdev",
)
_OVERLAY: Final = "insmod /modules/overlay.ko\n"
_NETWORKS: Final = "while read -r file; do insmod /modules/$file; done </modules/order\n"
_V2: Final = "mount -t cgroup2 none /sys/fs/cgroup\n"


def _version_1(*groups: str) -> str:
    """One tree each, on a tmpfs as systemd and cgroupfs-mount have it."""
    mounts = [f"mkdir /sys/fs/cgroup/{one}; mount -t cgroup -o {one} {one} /sys/fs/cgroup/{one}\n" for one in groups]
    return "mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup\n" + "".join(mounts)


@dataclass(frozen=True)
class Case:
    """One guest."""

    what: str
    targets: tuple[str, ...]
    """Arguments of pytest: files and names of tests, options."""
    prepare: str = _OVERLAY + _V2
    """Shell commands."""
    parameters: str = "cgroup_no_v1=all"
    timeout_s: float = 1800.0

    def script(self) -> str:
        """For the guest's shell; the last command's exit status is that of the guest."""
        options = "-p no:cacheprovider -v --tb=short --timeout 600"
        pytest = f".venv/bin/python -m pytest {options} {shlex.join(self.targets)}"
        return f"export MINIBUS_TEST_PATIENCE=12\n{self.prepare}cd {ROOT}\n{pytest}\n"


_CONTAINERS: Final = (
    "tests/system/test_container_inside.py",
    "tests/system/test_container_life.py",
    "tests/system/test_container_refusals.py",
    "tests/system/test_container_rights.py",
    "tests/system/test_container_warden.py",
    "tests/system/test_host_lacks.py",
    "tests/system/test_hostile_escape.py",
    "tests/system/test_hostile_races.py",
)
_PRODUCT: Final = ("tests/kernels/inside/product.py", "tests/system/test_whole.py")
_TRAFFIC: Final = (
    *("tests/kernels/inside/netem.py", "tests/integration/test_fabric.py"),
    *("tests/integration/test_fabric_traffic.py", "tests/integration/test_fabric_host.py"),
    "tests/system/test_hostile_networks.py",
)
_ISOLATION: Final = tuple(
    f"tests/system/test_network_isolation.py::test_{name}"
    for name in (
        "one_vlan_hears_itself_and_another_one_nothing",
        "a_name_is_another_vlan_in_another_namespace",
        "of_the_host_guests_reach_the_tap_of_their_vlan",
    )
)
"""The others need a program of dnsmasq's."""
_LACKS: Final = "tests/kernels/inside/lacks.py::test_"

CASES: Final = {
    "v2": Case(
        "cgroup v2 alone, as systemd has it",
        ("tests/kernels/inside/version2.py", "tests/system/test_container_cgroup2.py", *_CONTAINERS, *_PRODUCT),
    ),
    "hybrid": Case(
        "cpu, devices and pids of version 1; memory and freezing of version 2",
        ("tests/system/test_container_cgroup2.py", *_CONTAINERS, *_PRODUCT),
        _OVERLAY
        + _version_1("cpu,cpuacct", "devices", "pids")
        + "mkdir /sys/fs/cgroup/unified; mount -t cgroup2 none /sys/fs/cgroup/unified\n",
        "",
    ),
    "v1": Case(
        "cgroup v1 alone",
        (*_CONTAINERS, *_PRODUCT),
        _OVERLAY + _version_1("cpu,cpuacct", "memory", "devices", "freezer", "pids"),
        "",
    ),
    "vlans": Case(
        "bridges that know VLANs, netem",
        (*_TRAFFIC, *_ISOLATION),
        f"{_NETWORKS}{_V2}export MINIBUS_FABRIC=filtering\n",
        timeout_s=1800,
    ),
    "no-vlans": Case(
        "a bridge for each VLAN, netem",
        _TRAFFIC,
        f"{_NETWORKS}{_V2}export MINIBUS_FABRIC=plain\n",
        timeout_s=900,
    ),
    "no-overlay": Case("no overlayfs", (f"{_LACKS}no_overlay",), _V2, timeout_s=600),
    "no-memory": Case(
        "no memory controller",
        (f"{_LACKS}no_memory_controller",),
        parameters="cgroup_no_v1=all cgroup_disable=memory",
        timeout_s=600,
    ),
    "read-only": Case(
        "/sys and the cgroups read-only, and a user who is not root",
        (f"{_LACKS}read_only_sys", f"{_LACKS}another_user"),
        f"{_OVERLAY}{_V2}mount -o remount,ro /sys/fs/cgroup\nmount -o remount,ro /sys\n",
        timeout_s=600,
    ),
}

_LIFE: Final = "tests/system/test_container_life.py::test_"
_INSIDE: Final = "tests/system/test_container_inside.py::test_"
_FABRIC: Final = "tests/integration/test_fabric.py::test_"
_FABRIC_TRAFFIC: Final = "tests/integration/test_fabric_traffic.py::test_"
SHORT: Final = Case(
    "cgroup v2 alone, bridges that know VLANs, netem: what every change is tested with",
    (
        "tests/kernels/inside/version2.py",
        "tests/system/test_container_cgroup2.py",
        f"{_LIFE}memory_hog_is_killed_and_said_so",
        f"{_LIFE}relaunch_under_the_same_number",
        f"{_INSIDE}devices_can_be_made_by_whom_the_host_trusts",
        f"{_INSIDE}capabilities_and_filter",
        "tests/system/test_container_rights.py::test_a_network_of_its_own",
        "tests/system/test_hostile_networks.py",
        "tests/system/test_container_warden.py::test_a_new_warden_adopts",
        "tests/system/test_host_lacks.py::test_devices_without_rules",
        "tests/system/test_host_lacks.py::test_a_tree_that_is_read_only[memory]",
        "tests/kernels/inside/product.py",
        "tests/kernels/inside/netem.py",
        *(f"{_FABRIC}{name}" for name in ("segments_do_not_hear_each_other", "nothing_of_the_fabric_answers")),
        *(f"{_FABRIC}{name}" for name in ("a_port_is_moved_and_unplugged", "a_new_process_finds_everything")),
        f"{_FABRIC_TRAFFIC}addresses_of_ordinary_guests",
        f"{_FABRIC_TRAFFIC}addresses_are_learned[frames5-learned5]",
        f"{_FABRIC_TRAFFIC}a_mirror_shows_both_directions",
    ),
    prepare=f"{_V2}cd {ROOT}\n"
    f".venv/bin/python -m pytest -p no:cacheprovider -q {_LACKS}no_overlay || exit\n"
    f"{_NETWORKS}",
)
