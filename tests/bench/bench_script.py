"""How long other clients wait for `version` while a script of 1,000 lines is read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.machine import need_root, progress, scratch
from tests.bench.probes import times_during
from tests.bench.product import CommandSocket, running
from tests.bench.report import Benchmark, Budget, Measured, percentile

LINES = 1_000
SECONDS = 10.0
"""The script is read over and over for this long, so that there are enough commands to judge."""
ROW = Budget(name="command_p99_script", unit="ms", limit=50.0, direction="<=", of="value")


def script_lines(count: int) -> list[str]:
    """A script as users have them: configuration, names, a look around, comments; it launches nothing."""
    block = [
        "# the next machine",
        "vm config memory 512",
        "vm config tags role web-{n}",
        'echo "machine {n} of the experiment"',
        "vm config save machine-{m}",
        ".columns name,state .filter state=running vm info",
        "vm config net LAN-{m} DMZ",
        "clear vm config net",
        ".csv true .headers false host",
        "vm config",
    ]
    return [block[number % len(block)].format(n=number, m=number % 7) for number in range(count)]


def script() -> Mapping[str, Measured]:
    """The 99th percentile over all commands that were due during the script."""
    need_root()
    with scratch() as place, running() as product, product.connect() as reader:
        path = place / "script"
        path.write_text("\n".join(script_lines(LINES)) + "\n")
        times = times_during(product, ("version",), lambda: _read_for(reader, path, SECONDS))
    return {ROW.name: Measured(value=percentile(times, 99) * 1000)}


def _read_for(reader: CommandSocket, path: Path, seconds: float) -> None:
    begin = time.perf_counter()
    rounds = 0
    while time.perf_counter() - begin < seconds:
        reader.command(f"read {path}")
        rounds += 1
    progress(f"{LINES} lines in {(time.perf_counter() - begin) / rounds:.2f} s")


BENCHMARK = Benchmark(rows=(ROW,), run=script)
