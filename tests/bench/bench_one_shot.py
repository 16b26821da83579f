"""How long the smallest command takes as a process of its own, against the smallest Python that could do it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tests.bench.machine import MINIBUS, PYTHON, run, wall_s
from tests.bench.product import running
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

RUNS = 30
ROW = Budget(name="one_shot", unit="ms", limit=2.0, direction="<=")


def one_shot() -> Mapping[str, Measured]:
    """Medians of alternating runs, so that a slow moment of the machine hits both sides."""
    with running() as product:
        subject = [MINIBUS, "-base", str(product.base), "-e", "version"]
        reference = [PYTHON, "-I", "-S", "-c", "import socket"]
        if not run(subject, timeout_s=10).strip():
            raise UnavailableError("version printed nothing")
        pairs = [(wall_s(subject), wall_s(reference)) for _ in range(RUNS)]
    value, floor = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    return {ROW.name: Measured(value=value, reference=floor)}


BENCHMARK = Benchmark(rows=(ROW,), run=one_shot)
