"""What an idle node costs: memory of all its processes, and the time until every actor is ready."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping

from tests.bench.machine import PYTHON, pss_mib
from tests.bench.product import Product, running
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

STARTS = 3
MEMORY = Budget(name="idle_memory", unit="MiB", limit=10.0, direction="<=")
READY = Budget(name="ready", unit="s", limit=1.5, direction="<=", of="value")


def idle() -> Mapping[str, Measured]:
    """Medians over a few starts; the bare Python is measured before, while it shares no pages with the node."""
    reference = _bare_python_mib()
    ready, memory = [], []
    for _ in range(STARTS):
        with running() as product:
            ready.append(product.ready_s)
            memory.append(_memory_mib(product))
    return {
        MEMORY.name: Measured(value=statistics.median(memory), reference=reference),
        READY.name: Measured(value=statistics.median(ready)),
    }


def _memory_mib(product: Product) -> float:
    return pss_mib(list(product.processes().values()))


def _bare_python_mib() -> float:
    """PSS of a Python that imported zmq and does nothing."""
    program = "import sys, zmq; print('ready', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([PYTHON, "-c", program], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise UnavailableError("zmq cannot be imported")
        memory = pss_mib([process.pid])
        process.communicate()
    return memory


BENCHMARK = Benchmark(rows=(MEMORY, READY), run=idle)
