"""The memory of all processes of an idle node, against one bare Python with zmq imported."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.bench.machine import PYTHON, pss_mib, wait_until
from tests.bench.product import running
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

STARTS = 3
QUIET_TIMEOUT_S = 60.0
MEMORY = Budget(name="idle_memory", unit="MiB", limit=10.0, direction="<=")


def idle() -> Mapping[str, Measured]:
    """Medians over a few starts; the bare Python is measured before, while it shares no pages with the node.

    Raises UnavailableError while another program has libzmq loaded: its share would make the reference too small.
    """
    if not wait_until(lambda: not _users_of("libzmq"), timeout_s=QUIET_TIMEOUT_S, pause_s=0.5):
        raise UnavailableError(f"process {_users_of('libzmq')[0]} has zmq loaded too and would share pages")
    reference = _bare_python_mib()
    memory = []
    for _ in range(STARTS):
        with running() as product:
            memory.append(pss_mib(product.processes()))
    return {MEMORY.name: Measured(value=statistics.median(memory), reference=reference)}


def _users_of(library: str) -> list[int]:
    """Processes that have the library mapped (proc(5), maps)."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if library in Path(f"/proc/{pid}/maps").read_text():
                found.append(pid)
    return found


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


BENCHMARK = Benchmark(rows=(MEMORY,), run=idle)
