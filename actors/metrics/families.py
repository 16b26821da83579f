"""From a snapshot to metrics with their names, labels and help, by the conventions of Prometheus. Pure.

No label has values that users make up, but `namespace`, and that one has a limit.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from actors.metrics.board import Snapshot
from bus.actor.histogram import cumulative
from bus.actor.inputs import OK
from bus.errors import CODES
from bus.messages.control import ActorStatus, Latency, Stats
from bus.messages.vm import VmCount
from bus.processes import Figures
from shims.usage.hoststat import HostFigures

MAX_NAMESPACES = 100
"""Namespaces with the most VMs that have a label of their own."""
OTHERS = "(others)"
"""The label of all other namespaces together; none can be called so."""
OUTCOMES = (OK, *CODES)
OTHER = "other"
FALLS = ("killed", "exited", "hung", "refused", "lost")
BUS = {
    "requests": "Requests that the broker was given.",
    "replies": "Replies and failures that the broker was given.",
    "events": "Events that the broker was given.",
    "dropped": "Messages that a receiver's full queue had no room for.",
    "malformed": "Messages that the broker could not read.",
    "refused": "Events below pipe/ that were not the plumber's.",
}
PIPE_COUNTERS = {
    "pipe_messages": "Messages that pipes have passed on.",
    "pipe_bytes": "Bytes of these messages.",
}
PIPE_GAUGES = {
    "pipes": "Pipes in use.",
    "pipe_readers": "Attached readers of pipes.",
}


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every metric of which something is known."""
    yield from _processes(snapshot.processes)
    yield from _figures(snapshot.figures)
    yield from _requests(snapshot.stats)
    yield from _bus(snapshot.stats)
    if snapshot.vms is not None:
        yield _vms(snapshot.vms)
    if snapshot.host is not None:
        yield from _host(snapshot.host)


def _processes(processes: Iterable[ActorStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily("minibus_up", "Whether the process serves.", labels=["actor"])
    restarts = CounterMetricFamily(
        "minibus_restarts", "Unwanted ends of the process since the node started.", labels=["actor", "reason"]
    )
    for one in processes:
        up.add_metric([one.actor], float(one.state == "running"))
        if one.actor != "node":
            for kind in FALLS:
                restarts.add_metric([one.actor, kind], one.falls_by_kind.get(kind, 0))
    yield up
    yield restarts


def _figures(figures: Mapping[str, Figures]) -> Iterator[Metric]:
    cpu = CounterMetricFamily("minibus_process_cpu_seconds", "Processor time.", labels=["actor"])
    for name, one in figures.items():
        cpu.add_metric([name], one.cpu_s)
    yield cpu
    gauges: tuple[tuple[str, str, Callable[[Figures], float]], ...] = (
        ("resident_memory_bytes", "Memory in use, shared pages in full.", lambda one: one.rss_bytes),
        ("proportional_memory_bytes", "Memory in use, shared pages in part (PSS).", lambda one: one.pss_bytes),
        ("open_fds", "Open file descriptors.", lambda one: one.fds),
        ("threads", "Threads.", lambda one: one.threads),
        ("uptime_seconds", "Since the process started.", lambda one: one.uptime_s),
    )
    for suffix, meaning, value in gauges:
        family = GaugeMetricFamily(f"minibus_process_{suffix}", meaning, labels=["actor"])
        for name, one in figures.items():
            family.add_metric([name], value(one))
        yield family


def _requests(stats: Mapping[str, Stats]) -> Iterator[Metric]:
    inbox = GaugeMetricFamily("minibus_inbox_requests", "Requests received and not yet answered.", labels=["actor"])
    lag = GaugeMetricFamily("minibus_loop_lag_seconds", "How late the last timer was.", labels=["actor"])
    answers = CounterMetricFamily(
        "minibus_requests", "Requests answered, by outcome: ok or the code of the failure.", labels=["actor", "outcome"]
    )
    for actor, one in stats.items():
        inbox.add_metric([actor], one.inbox)
        lag.add_metric([actor], one.lag_s)
        for outcome, count in _outcomes(one.answers).items():
            answers.add_metric([actor, outcome], count)
    yield from (inbox, lag, answers)
    yield _histogram(
        "minibus_request_duration_seconds",
        "From the arrival of a request to its answer.",
        {actor: one.handling for actor, one in stats.items()},
    )
    yield _histogram(
        "minibus_request_queue_seconds",
        "From the asker to the arrival of a request.",
        {actor: one.queueing for actor, one in stats.items()},
    )


def _outcomes(answers: Mapping[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter({OK: 0})
    for outcome, count in answers.items():
        counts[outcome if outcome in OUTCOMES else OTHER] += count
    return counts


def _histogram(name: str, meaning: str, latencies: Mapping[str, Latency]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=["actor"])
    for actor, latency in latencies.items():
        buckets = [(repr(bound), float(count)) for bound, count in cumulative(latency)]
        family.add_metric([actor], [*buckets, ("+Inf", float(latency.count))], sum_value=latency.sum_s)
    return family


def _bus(stats: Mapping[str, Stats]) -> Iterator[Metric]:
    for actor, counted in (("broker", {f"bus_{name}": text for name, text in BUS.items()}), ("plumber", PIPE_COUNTERS)):
        if actor in stats:
            for name, meaning in counted.items():
                value = stats[actor].counters.get(name.removeprefix("bus_"), 0)
                yield CounterMetricFamily(f"minibus_{name}", meaning, value=value)
    if "plumber" in stats:
        for name, meaning in PIPE_GAUGES.items():
            yield GaugeMetricFamily(f"minibus_{name}", meaning, value=stats["plumber"].counters.get(name, 0))


def _vms(counts: Iterable[VmCount]) -> Metric:
    family = GaugeMetricFamily("minibus_vms", "VMs of this host.", labels=["namespace", "kind", "state"])
    for (namespace, kind, state), count in sorted(fold(counts).items()):
        family.add_metric([namespace, kind, state], count)
    return family


def fold(counts: Iterable[VmCount]) -> Counter[tuple[str, str, str]]:
    """Counts by namespace, kind and state; the smaller ones of very many namespaces together."""
    counts = tuple(counts)
    sizes: Counter[str] = Counter()
    for one in counts:
        sizes[one.namespace] += one.count
    # By size and then by name: who has a label does not change from one look to the next.
    ordered = sorted(sizes, key=lambda namespace: (-sizes[namespace], namespace))
    own = frozenset(itertools.islice(ordered, MAX_NAMESPACES))
    folded: Counter[tuple[str, str, str]] = Counter()
    for one in counts:
        folded[one.namespace if one.namespace in own else OTHERS, one.kind.value, one.state.value] += one.count
    return folded


def _host(host: HostFigures) -> Iterator[Metric]:
    cpu = CounterMetricFamily("minibus_host_cpu_seconds", "Processor time of the host.", labels=["mode"])
    for mode, value in host.cpu_s.items():
        cpu.add_metric([mode], value)
    yield cpu
    for name, meaning, value in (
        ("cpus", "Processors that minibus may use.", host.cpus),
        ("load1", "Load over one minute.", host.load1),
        ("memory_bytes", "Memory of the host.", host.memory_total_bytes),
        ("memory_available_bytes", "Memory that can be had without swapping.", host.memory_available_bytes),
        ("boot_time_seconds", "When the host was started, since 1970.", host.boot_time_s),
        ("base_free_bytes", "Room where the base directory is.", host.free_bytes),
        ("base_free_inodes", "Inodes where the base directory is.", host.free_inodes),
    ):
        yield GaugeMetricFamily(f"minibus_host_{name}", meaning, value=value)
