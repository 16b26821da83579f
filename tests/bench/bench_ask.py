"""The latency of one ask through the broker, against a raw echo over three processes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping

from tests.bench.machine import PYTHON, REFERENCE, ROOT, run, scratch
from tests.bench.product import running
from tests.bench.report import Benchmark, Budget, Measured

ROUNDS = 3
ROW = Budget(name="ask", unit="us", limit=3.0, direction="<=")
CLIENT = ROOT / "tests" / "bench" / "ask_client.py"


def ask() -> Mapping[str, Measured]:
    """Medians over alternating rounds of 2,000 round trips each, so that a slow moment hits both."""
    subject, reference = [], []
    with scratch() as place, running() as product:
        for _ in range(ROUNDS):
            reference.append(_median_us([str(REFERENCE / "echo.py"), "client", str(place)]))
            subject.append(_median_us([str(CLIENT), str(product.base)]))
    return {ROW.name: Measured(value=statistics.median(subject), reference=statistics.median(reference))}


def _median_us(arguments: list[str]) -> float:
    return float(json.loads(run([PYTHON, *arguments], timeout_s=60))["median_us"])


BENCHMARK = Benchmark(rows=(ROW,), run=ask)
