"""What the `vm` actor answers to queries."""

from __future__ import annotations

import pytest

from actors.vm import views
from bus.errors import InvalidError, NotFoundError
from bus.messages.guest import GuestSample
from bus.messages.vm import KillVms, StartVms, VmConfig
from shims.usage.hoststat import HostStat
from tests.unit.actors.vm.vm_host import Host


@pytest.fixture
def host() -> Host:
    """VMs a (running) and b (ended) in the default namespace, c in another."""
    host = Host()
    host.launch("a", "b", config=VmConfig(filesystem="/fs", vcpus=2, memory_mib=64, coschedule=5))
    host.launch("c", config=VmConfig(filesystem="/fs", vcpus=1, memory_mib=32, coschedule=3), namespace="exp1")
    host.do(StartVms(target="a"))
    host.do(KillVms(target="b"))
    return host


@pytest.mark.parametrize(
    ("target", "namespace", "names", "missing"),
    [
        ("all", "minimega", ["a", "b"], ()),
        ("b,a", "minimega", ["a", "b"], ()),
        ("a,nope,2", "minimega", ["a"], ("nope", "2")),
        ("2", "exp1", ["c"], ()),
        ("all", "empty", [], ()),
    ],
)
def test_lists(host: Host, target: str, namespace: str, names: list[str], missing: tuple[str, ...]) -> None:
    reply = views.vm_list(host.table, namespace, target, 160.0)
    assert ([vm.name for vm in reply.vms], reply.missing) == (names, missing)


def test_what_a_list_says_of_a_vm(host: Host) -> None:
    vm = views.vm_list(host.table, "minimega", "a", 160.0).vms[0]
    assert (vm.vm_id, vm.host, vm.state.value, vm.pid, vm.uptime_s) == (0, "h1", "RUNNING", 1000, 60.0)
    assert vm.uuid == vm.config.uuid


def test_targets_that_fail(host: Host) -> None:
    with pytest.raises(NotFoundError, match="vm not found: nope"):
        views.vm_list(host.table, "minimega", "nope", 0.0)
    with pytest.raises(InvalidError, match="unterminated"):
        views.vm_list(host.table, "minimega", "a[", 0.0)


def test_names(host: Host) -> None:
    assert list(views.vm_names(host.table, "minimega").uuids) == ["a", "b"]
    assert views.vm_names(host.table, "exp1").uuids == {"c": host.table.vms[2].uuid}


def test_load_counts_the_living_of_all_namespaces(host: Host) -> None:
    stat = HostStat(cpus=4, load=(0.1, 0.2, 0.3), mem_total_mib=100, mem_used_mib=50, uptime_s=5.0)
    load = views.host_load(host.table, stat)
    assert (load.vms, load.cpu_commit, load.mem_commit_mib, load.vm_limit, load.host) == (2, 3, 96, 4, "h1")
    assert views.host_load(Host().table, stat).vm_limit == -1


def test_usage_goes_by_name_and_only_of_the_living(host: Host) -> None:
    assert views.live_by_driver(host.table, "minimega") == {"container": {0: "a"}}
    sample = GuestSample(
        vm_id=0, virt_bytes=1, res_bytes=2, shr_bytes=3, cpu_percent=4.0, vcpu_percent=0.0, time_s=5.0, processes=6
    )
    strange = GuestSample(
        vm_id=9, virt_bytes=1, res_bytes=2, shr_bytes=3, cpu_percent=4.0, vcpu_percent=0.0, time_s=5.0, processes=6
    )
    (usage,) = views.usages({0: "a"}, [sample, strange])
    assert (usage.name, usage.res_bytes, usage.time_s, usage.processes) == ("a", 2, 5.0, 6)
