"""How long `minibus up --detach` takes: until every actor of a node without guests is ready."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tests.bench.product import running
from tests.bench.report import Benchmark, Budget, Measured

STARTS = 3
ROW = Budget(name="ready", unit="s", limit=1.5, direction="<=", of="value")


def ready() -> Mapping[str, Measured]:
    """The median over a few starts, each on a new base directory; that all actors run is looked up each time."""
    times = []
    for _ in range(STARTS):
        with running() as product:
            times.append(product.ready_s)
    return {ROW.name: Measured(value=statistics.median(times))}


BENCHMARK = Benchmark(rows=(ROW,), run=ready)
