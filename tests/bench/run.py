"""Measure minibus against references taken in the same run: `run.py [NAME...]`.

Without names every `bench_*.py` beside this file runs. Progress goes to stderr, the table to stdout, the same figures
to `build/bench.json`, of this run only. Exit status 0 if every row was measured (a missed budget is a result, not a
failure), 1 if not, 2 for an unknown name, 130 after Ctrl-C.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run by path, this file's own folder is on the module path, not the repository

from tests.bench.machine import progress  # noqa: E402
from tests.bench.report import Benchmark, Row, UnavailableError, as_json, rows_of, table  # noqa: E402

OUTPUT = ROOT / "build" / "bench.json"
PREFIX = "bench_"


def available() -> list[str]:
    """Names of the benchmarks, in order."""
    return sorted(path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py"))


def load(name: str) -> Benchmark:
    """The benchmark declared as `BENCHMARK` in its file."""
    benchmark: Benchmark = importlib.import_module(f"tests.bench.{PREFIX}{name}").BENCHMARK
    return benchmark


def measure(name: str) -> list[Row]:
    """Run one benchmark; one that cannot run yields rows that say why."""
    progress(f"{name} ...")
    benchmark = load(name)
    try:
        return rows_of(benchmark, benchmark.run())
    except UnavailableError as error:
        return rows_of(benchmark, {}, str(error))
    except Exception as error:
        traceback.print_exc()  # a defect of the benchmark itself; the others still run
        return rows_of(benchmark, {}, f"{type(error).__name__}: {error}")


def write(rows: list[Row]) -> None:
    """Write the figures of this run."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(as_json(rows), indent=2) + "\n")


def main(names: list[str]) -> int:
    """Run the named benchmarks or all; see the module's text."""
    if unknown := [name for name in names if name not in available()]:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are: {', '.join(available())}\n")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    rows: list[Row] = []
    try:
        for name in names or available():
            rows += measure(name)
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 130
    finally:
        if rows:
            write(rows)
            sys.stdout.write(table(rows) + "\n")
    return 0 if all(row.measured for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
