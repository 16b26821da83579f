"""What the table looks like from outside: answers to queries, without any change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from actors.vm.kinds import KINDS
from actors.vm.table import VmRecord, VmTable, not_found
from bus.errors import InvalidError, NotFoundError
from bus.language.vm_names import VmNameError, parse_target
from bus.messages.guest import GuestSample
from bus.messages.vm import HostLoad, VmCount, VmCounts, VmInfo, VmList, VmNames, VmUsage
from shims.usage.hoststat import HostStat


def vm_list(table: VmTable, namespace: str, target_text: str, now_s: float) -> VmList:
    """The VMs of a target; raises InvalidError, or NotFoundError if a single one is unknown."""
    try:
        target = parse_target(target_text)
    except VmNameError as error:
        raise InvalidError(str(error)) from error
    found, missing = table.matching(namespace, target)
    if target.single and missing:
        raise NotFoundError(not_found(missing[0]))
    return VmList(vms=tuple(vm_info(vm, table.host, now_s) for vm in found), missing=tuple(missing))


def vm_info(vm: VmRecord, host: str, now_s: float) -> VmInfo:
    """One VM."""
    return VmInfo(
        vm_id=vm.vm_id,
        name=vm.name,
        namespace=vm.namespace,
        host=host,
        kind=vm.kind,
        state=vm.state,
        uuid=vm.uuid,
        created_s=vm.created_s,
        uptime_s=vm.uptime_s(now_s),
        config=vm.config,
        tags=dict(vm.tags),
        pid=vm.pid,
        console_port=vm.console_port,
    )


def vm_names(table: VmTable, namespace: str) -> VmNames:
    """Names and UUIDs that are taken in a namespace."""
    return VmNames(uuids={vm.name: vm.uuid for vm in table.of_namespace(namespace)})


def host_load(table: VmTable, stat: HostStat) -> HostLoad:
    """Figures of the host, and what living VMs of all namespaces were promised."""
    configs = [vm.config for vm in table.vms.values() if vm.live]
    limits = [config.coschedule for config in configs if config.coschedule >= 0]
    return HostLoad(
        host=table.host,
        cpus=stat.cpus,
        load=stat.load,
        mem_total_mib=stat.mem_total_mib,
        mem_used_mib=stat.mem_used_mib,
        vms=len(configs),
        vm_limit=min(limits) + 1 if limits else -1,
        cpu_commit=sum(config.vcpus for config in configs),
        mem_commit_mib=sum(config.memory_mib for config in configs),
        net_commit=sum(len(vm.present_config.networks) for vm in table.vms.values() if vm.live),
        uptime_s=stat.uptime_s,
    )


def vm_counts(table: VmTable) -> VmCounts:
    """By namespace, kind and state."""
    counts = Counter((vm.namespace, vm.kind, vm.state) for vm in table.vms.values())
    return VmCounts(
        counts=tuple(
            VmCount(namespace=namespace, kind=kind, state=state, count=count)
            for (namespace, kind, state), count in counts.items()
        )
    )


def live_by_driver(table: VmTable, namespace: str) -> dict[str, dict[int, str]]:
    """For each driver, id and name of its living VMs of a namespace."""
    found: dict[str, dict[int, str]] = {}
    for vm in table.of_namespace(namespace):
        if vm.live:
            found.setdefault(KINDS[vm.kind].driver, {})[vm.vm_id] = vm.name
    return found


def usages(names: dict[int, str], samples: Iterable[GuestSample]) -> tuple[VmUsage, ...]:
    """Samples under the names of their VMs."""
    return tuple(
        VmUsage(
            vm_id=sample.vm_id,
            name=names[sample.vm_id],
            virt_bytes=sample.virt_bytes,
            res_bytes=sample.res_bytes,
            shr_bytes=sample.shr_bytes,
            cpu_percent=sample.cpu_percent,
            vcpu_percent=sample.vcpu_percent,
            time_s=sample.time_s,
            processes=sample.processes,
        )
        for sample in samples
        if sample.vm_id in names
    )
