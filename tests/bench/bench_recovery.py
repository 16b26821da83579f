"""How long a host with a thousand containers needs to be itself again after SIGKILL: of one process, and of all."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from tests.bench.machine import MINIBUS, need_root, progress, run, settle, wait_until
from tests.bench.product import UP_TIMEOUT_S, Product, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

COUNT = 1000
BATCH = 250
"""Launched at once."""
VICTIMS = ("warden", "container", "vm", "broker", "cli")
LIMIT_S = 5.0
TIMEOUT_S = 60.0
ROWS = {
    victim: Budget(name=f"recovery_{victim}", unit="s", limit=LIMIT_S, direction="<=", of="value")
    for victim in (*VICTIMS, "all")
}


def recovery() -> Mapping[str, Measured]:
    """From the signal until a new process runs and `vm info` shows every container running under its old pid."""
    need_root()
    results = {}
    with with_rootfs() as (product, rootfs):
        settle()
        with product.connect() as connection:
            for number in range(COUNT // BATCH):
                product.launch(connection, f"r{number}-[0-{BATCH - 1}]", rootfs)
        guests = _guests(product)
        for victim in VICTIMS:
            results[ROWS[victim].name] = Measured(value=_one(product, victim, guests))
            progress(f"{victim}: {results[ROWS[victim].name].value:.2f} s")
        results[ROWS["all"].name] = Measured(value=_all(product, guests))
        with product.connect() as connection:
            product.remove(connection)
    return results


def _one(product: Product, victim: str, guests: list[str]) -> float:
    """Seconds; raises UnavailableError if it does not come back, or a container is another than before."""
    pid = _processes(product)[victim]["pid"]
    begin = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    if not wait_until(lambda: _is_back(product, victim, pid), TIMEOUT_S):
        raise UnavailableError(f"{victim} did not come back within {TIMEOUT_S:g} s")
    _await_guests(product, guests)
    return time.perf_counter() - begin


def _all(product: Product, guests: list[str]) -> float:
    """The same for every process of minibus at once, and `minibus up`."""
    pids = product.processes()
    begin = time.perf_counter()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    run([MINIBUS, "up", "--base", str(product.base), "--detach"], UP_TIMEOUT_S)
    _await_guests(product, guests)
    return time.perf_counter() - begin


def _is_back(product: Product, victim: str, former: int) -> bool:
    try:
        entry = _processes(product)[victim]
    except UnavailableError:
        return False  # the broker itself is away
    return bool(entry["state"] == "running" and entry["pid"] != former)


def _processes(product: Product) -> dict[str, Any]:
    listed = json.loads(run([MINIBUS, "ps", "--json", "--base", str(product.base)], timeout_s=10))
    return {entry["actor"]: entry for entry in listed}


def _await_guests(product: Product, guests: list[str]) -> None:
    if not wait_until(lambda: _guests(product) == guests, TIMEOUT_S):
        raise UnavailableError("not every container is there as it was before")


def _guests(product: Product) -> list[str]:
    """Name, pid and state of each."""
    try:
        with product.connect() as connection:
            columns = [connection.column(name) for name in ("name", "pid", "state")]
    except UnavailableError:
        return []
    return sorted(" ".join(row) for row in zip(*columns, strict=False))


BENCHMARK = Benchmark(rows=tuple(ROWS.values()), run=recovery)
