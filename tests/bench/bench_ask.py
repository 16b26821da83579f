"""The latency of one ask through the broker, against a raw echo over three processes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.bench.machine import PYTHON, REFERENCE, ROOT, run, scratch
from tests.bench.product import running
from tests.bench.report import Benchmark, Budget, Measured

ROW = Budget(name="ask", unit="us", limit=3.0, direction="<=")
CLIENT = ROOT / "tests" / "bench" / "ask_client.py"


def ask() -> Mapping[str, Measured]:
    """Medians of 2,000 round trips; the raw echo runs while no other process of minibus does."""
    with scratch() as place:
        reference = json.loads(run([PYTHON, str(REFERENCE / "echo.py"), "client", str(place)], timeout_s=60))
    with running() as product:
        subject = json.loads(run([PYTHON, str(CLIENT), str(product.base)], timeout_s=60))
    return {ROW.name: Measured(value=subject["median_us"], reference=reference["median_us"])}


BENCHMARK = Benchmark(rows=(ROW,), run=ask)
