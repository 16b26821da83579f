"""`just drill KIND [SEED] [--minutes N]`: a crash drill by hand, as often as time allows."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from shims import rootfs
from tests.system.drill.disk import small_disk
from tests.system.drill.drill import HERD, Drill, DrillError, drill_on

KINDS = {"kill": Drill.kill, "stop": Drill.stop, "starve": Drill.starve, "everything": Drill.everything}
ON_A_SMALL_DISK = {"disk": Drill.disk}


def main() -> int:
    """Run it; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="just drill", description="Crash drills; without a kind, they are listed.")
    parser.add_argument("kind", nargs="?", choices=[*KINDS, *ON_A_SMALL_DISK, "all"])
    parser.add_argument("seed", nargs="?", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long; otherwise one round")
    parser.add_argument("--containers", type=int, default=HERD, help="how many must not notice anything")
    arguments = parser.parse_args()
    if arguments.kind is None:
        print(*(f"{name:11} {round_.__doc__}" for name, round_ in (KINDS | ON_A_SMALL_DISK).items()), sep="\n")
        return 0
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"just drill {arguments.kind} {seed} --minutes {arguments.minutes:g} --containers {arguments.containers}")
    rounds = list(KINDS.values()) if arguments.kind == "all" else [(KINDS | ON_A_SMALL_DISK)[arguments.kind]]
    work = Path(tempfile.mkdtemp(prefix="mbd-", dir="/tmp"))
    try:
        work.chmod(0o755)
        root = work / "root"
        root.mkdir()
        rootfs.build(root)
        base = work / "base"
        base.mkdir(mode=0o700)
        disk = small_disk(base) if arguments.kind in ON_A_SMALL_DISK else contextlib.nullcontext(base)
        with disk as base, drill_on(base, root, seed, herd=arguments.containers, shown=True) as drill:
            end_s = time.monotonic() + arguments.minutes * 60
            while True:
                for one in rounds:
                    one(drill)
                if time.monotonic() >= end_s:
                    break
    except DrillError as error:
        print(f"FAILED\n{error}")
        return 1
    finally:
        shutil.rmtree(work)
    print("every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
