"""Short slices of processor time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shims.linux.scheduling import SLICE_NS, slice_ns

ROOT = Path(__file__).parents[4]
SAY = "import os; from shims.linux.scheduling import be_prompt, slice_ns; os.nice(7); print(slice_ns(0)); be_prompt()\n"
SAY += "print(slice_ns(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))"


def test_a_process_gets_shorter_slices_and_nothing_else() -> None:
    said = subprocess.run([sys.executable, "-c", SAY], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    before, after, nice, policy = map(int, said.split())
    has_slices = before > 0
    assert after == (SLICE_NS if has_slices else 0)
    assert before > SLICE_NS or not has_slices
    assert (nice, policy) == (os.getpriority(os.PRIO_PROCESS, 0) + 7, os.SCHED_OTHER)


def test_this_process_has_asked_for_nothing() -> None:
    assert slice_ns(os.getpid()) != SLICE_NS
