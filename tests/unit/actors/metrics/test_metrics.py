"""What is exported to Prometheus, read back by its own parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from actors import roster
from actors.metrics.actor import _Families, host_figures
from actors.metrics.board import MAX_ACTORS, STALE_S, Board, Snapshot
from actors.metrics.families import MAX_NAMESPACES, OTHERS, families, fold
from bus.actor.histogram import BOUNDS_S, Histogram
from bus.messages.control import ActorStatus, NodeStats, Ping, Stats
from bus.messages.vm import GuestKind, VmCount, VmState
from bus.processes import Figures
from bus.settings import metrics_address
from shims.usage.hoststat import HostFigures


def latency(*durations: float) -> Histogram:
    """Some durations."""
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


def count(namespace: str, number: int, state: VmState = VmState.RUNNING) -> VmCount:
    """Containers of a namespace."""
    return VmCount(namespace=namespace, kind=GuestKind.CONTAINER, state=state, count=number)


SNAPSHOT = Snapshot(
    processes=(
        ActorStatus(actor="node", pid=1, state="running"),
        ActorStatus(actor="vm", pid=2, state="backoff", falls_by_kind={"killed": 3, "hung": 1}),
    ),
    figures={"vm": Figures(uptime_s=5.0, cpu_s=1.5, threads=2, rss_bytes=1000, fds=9, pss_bytes=500)},
    stats={
        "broker": Stats(actor="broker", counters={"events": 7, "requests": 8}),
        "plumber": Stats(actor="plumber", counters={"pipes": 2, "pipe_messages": 99}),
        "vm": Stats(
            actor="vm",
            inbox=4,
            lag_s=0.25,
            answers={"ok": 10, "conflict": 2, "made_up_1": 1, "made_up_2": 1},
            handling=latency(0.00005, 0.02, 1000.0).latency(),
        ),
    },
    vms=(count("exp1", 3), count('a"b\\c', 1)),
    host=HostFigures(2, 0.5, 100, 50, 1.7e9, {"user": 5.0, "idle": 6.0}, 1, 1),
)

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values(text: str, *, strict: bool) -> Values:
    """Name and labels to value."""
    parse = openmetrics_parser.text_string_to_metric_families if strict else text_string_to_metric_families
    samples = [sample for family in parse(text) for sample in family.samples]
    found = {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}
    assert len(found) == len(samples), "a series is there twice"
    return found


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_parser_of_prometheus_reads(strict: bool) -> None:
    generate = openmetrics.generate_latest if strict else exposition.generate_latest
    found = values(generate(_Families(SNAPSHOT)).decode(), strict=strict)
    assert found["minibus_up", (("actor", "node"),)] == 1
    assert found["minibus_up", (("actor", "vm"),)] == 0
    assert found["minibus_restarts_total", (("actor", "vm"), ("reason", "killed"))] == 3
    assert found["minibus_restarts_total", (("actor", "vm"), ("reason", "exited"))] == 0
    assert found["minibus_inbox_requests", (("actor", "vm"),)] == 4
    assert found["minibus_requests_total", (("actor", "vm"), ("outcome", "conflict"))] == 2
    assert found["minibus_requests_total", (("actor", "vm"), ("outcome", "other"))] == 2
    assert found["minibus_process_proportional_memory_bytes", (("actor", "vm"),)] == 500
    assert found["minibus_bus_events_total", ()] == 7
    assert found["minibus_pipe_messages_total", ()] == 99
    vms = {labels: value for (name, labels), value in found.items() if name == "minibus_vms"}
    assert vms == {
        (("kind", "container"), ("namespace", "exp1"), ("state", "RUNNING")): 3,
        (("kind", "container"), ("namespace", 'a"b\\c'), ("state", "RUNNING")): 1,
    }
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "minibus_request_duration_seconds_bucket" and ("actor", "vm") in labels
    }
    assert len(buckets) == len(BOUNDS_S) + 1
    assert (buckets["0.0001"], buckets["0.01"], buckets["0.025"], buckets["+Inf"]) == (1, 1, 2, 3)
    assert found["minibus_request_duration_seconds_sum", (("actor", "vm"),)] == pytest.approx(1000.02005)


def test_every_family_has_help_and_a_unit_in_its_name_where_it_measures() -> None:
    for family in families(SNAPSHOT):
        assert family.documentation.endswith(".")
        assert family.name.startswith("minibus_")
        assert not family.name.endswith(("_ms", "_s", "_mib"))


def test_a_base_directory_that_is_gone_costs_only_the_figures_of_the_host(tmp_path: Path) -> None:
    assert host_figures(tmp_path / "gone") is None
    assert host_figures(tmp_path) is not None


def test_nothing_is_known() -> None:
    text = exposition.generate_latest(_Families(Snapshot())).decode()
    assert values(text, strict=False) == {}


def test_very_many_namespaces_do_not_become_very_many_series() -> None:
    counts = [count(f"n{number:04}", number) for number in range(1, 1001)]
    folded = fold(counts)
    names = {namespace for namespace, _, _ in folded}
    assert len(names) == MAX_NAMESPACES + 1
    assert {"n1000", "n0901", OTHERS} <= names
    assert folded[OTHERS, "container", "RUNNING"] == sum(range(1, 901))
    assert sum(folded.values()) == sum(range(1, 1001))


def test_the_board_keeps_the_last_and_forgets_the_silent() -> None:
    board = Board()
    board.take(Stats(actor="vm", inbox=1), 0.0)
    board.take(Stats(actor="cli", inbox=2), 5.0)
    board.take(Stats(actor="vm", inbox=3), 6.0)
    board.take(NodeStats(processes=SNAPSHOT.processes), 6.0)
    board.take(Ping(), 6.0)
    assert [(name, one.inbox) for name, one in board.stats(7.0).items()] == [("cli", 2), ("vm", 3)]
    assert board.processes(7.0) == SNAPSHOT.processes
    assert list(board.stats(5.0 + STALE_S)) == ["vm"]
    assert (board.stats(6.0 + STALE_S), board.processes(6.0 + STALE_S)) == ({}, ())


def test_made_up_actors_do_not_fill_the_board() -> None:
    board = Board()
    board.take(Stats(actor="x" * 1000), 0.0)
    assert board.stats(1.0) == {}
    for number in range(1000):
        board.take(Stats(actor=f"a{number}"), 0.0)
    assert len(board.stats(1.0)) == MAX_ACTORS


def test_who_does_not_want_metrics_pays_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metrics_address.METRICS, raising=False)
    assert "metrics" not in [spec.name for spec in roster.children()]
    monkeypatch.setenv(metrics_address.METRICS, "0")
    assert [spec.name for spec in roster.children()].count("metrics") == 1
    code = "import sys, importlib, actors.roster as r, cli.operations.up\n"
    code += "for one in r.ROSTER: importlib.import_module(one.entry.partition(':')[0])\n"
    code += "print('prometheus_client' in sys.modules)"
    root = Path(roster.__file__).parents[1]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True, text=True).stdout
    assert said == "False\n"
