"""`just kernels [NAME...]`: the container tests in guests with other control groups, and a table at the end.

Two guests at a time. What each says is in build/kernels/NAME.log; the exit status is 1 if any has failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.kernels import accelerator, guest, image, kernel
from tests.kernels.cases import CASES, MODULES, Case
from tests.kernels.kernel import CACHE, KitError

AT_ONCE = 2


class Row(NamedTuple):
    """One line of the table."""

    name: str
    what: str
    result: str
    took_s: float
    passed: bool


def main(names: list[str]) -> int:
    """Run the guests of these names, or all; returns the exit status."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"kernels: there is no guest {unknown[0]}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    try:
        rows = _run({name: CASES[name] for name in names or CASES})
    except KitError as error:
        print(f"kernels: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    return 0 if all(row.passed for row in rows) else 1


def _run(cases: dict[str, Case]) -> list[Row]:
    chosen = kernel.get()
    with tempfile.TemporaryDirectory(prefix="root-", dir=CACHE) as directory:
        root = Path(directory) / "root.img"
        image.build(root, chosen, MODULES)
        machine = guest.Machine(chosen, root, accelerator.choose(chosen, root))
        print(f"kernel {chosen.modules.name}, {machine.accelerator}; what guests say: {CACHE}/NAME.log", flush=True)
        with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda item: _one(machine, *item), cases.items()))


def _one(machine: guest.Machine, name: str, case: Case) -> Row:
    begun = time.monotonic()
    with (CACHE / f"{name}.log").open("w") as log:

        def show(line: str) -> None:
            log.write(f"{line}\n")
            log.flush()

        outcome = machine.run(case.script(), parameters=case.parameters, timeout_s=case.timeout_s, show=show)
        log.write(f"--- the kernel's console:\n{outcome.console}")
    row = Row(name, case.what, summary(outcome), time.monotonic() - begun, outcome.status == 0)
    print(f"{name}: {row.result}", *([] if row.passed else [outcome.tail()]), sep="\n", flush=True)
    return row


def summary(outcome: guest.Outcome) -> str:
    """What pytest says in its last line."""
    if outcome.status is None:
        return "no end in time, or the guest died"
    lines = [line for line in outcome.output.splitlines() if " in " in line and ("passed" in line or "failed" in line)]
    return lines[-1].strip("= \r") if lines else f"exit status {outcome.status}"


def table(rows: list[Row]) -> str:
    """For people."""
    cells = [("guest", "result", "seconds", "what"), *((r.name, r.result, f"{r.took_s:.0f}", r.what) for r in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]) for row in cells
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
