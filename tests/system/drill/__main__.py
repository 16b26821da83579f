"""`just drill KIND [SEED] [--minutes N]`: a crash drill by hand, as often as time allows."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shims.images import rootfs
from tests.system.drill.clock import WallClock
from tests.system.drill.disk import small_disk
from tests.system.drill.drill import HERD, Drill, DrillError, drill_on

CRASHES: dict[str, Callable[[Drill], None]] = {
    "kill": Drill.kill,
    "stop": Drill.stop,
    "starve": Drill.starve,
    "everything": Drill.everything,
}
KINDS = {
    **{name: str(round_.__doc__) for name, round_ in CRASHES.items()},
    "all": "All of these, one after the other.",
    "disk": str(Drill.disk.__doc__),
    "clock": str(Drill.clock.__doc__),
}


def main() -> int:
    """Run it; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="just drill", description="Crash drills; without a kind, they are listed.")
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("seed", nargs="?", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long; otherwise one round")
    parser.add_argument("--containers", type=int, default=HERD, help="how many must not notice anything")
    arguments = parser.parse_args()
    if arguments.kind is None:
        print(*(f"{name:11} {what}" for name, what in KINDS.items()), sep="\n")
        return 0
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"just drill {arguments.kind} {seed} --minutes {arguments.minutes:g} --containers {arguments.containers}")
    work = Path(tempfile.mkdtemp(prefix="mbd-", dir="/tmp"))
    try:
        work.chmod(0o755)
        run(work, arguments.kind, seed, arguments.minutes * 60, arguments.containers)
    except DrillError as error:
        print(f"FAILED\n{error}")
        return 1
    finally:
        shutil.rmtree(work)
    print("every promise was kept")
    return 0


def run(work: Path, kind: str, seed: int, seconds: float, containers: int) -> None:
    """One drill, with what it needs in an empty directory; raises DrillError."""
    root, base = work / "root", work / "base"
    root.mkdir()
    base.mkdir(mode=0o700)
    rootfs.build(root)
    rounds = list(CRASHES.values()) if kind == "all" else [CRASHES[kind]] if kind in CRASHES else [Drill.disk]
    with contextlib.ExitStack() as around:
        if kind == "disk":
            base = around.enter_context(small_disk(base))
        elif kind == "clock":
            clock = WallClock(work)
            around.enter_context(clock.kept_by_all())
            rounds = [lambda drill: drill.clock(clock)]
        drill = around.enter_context(drill_on(base, root, seed, herd=containers, shown=True))
        end_s = time.monotonic() + seconds
        while True:
            for one in rounds:
                one(drill)
            if time.monotonic() >= end_s:
                return


if __name__ == "__main__":
    sys.exit(main())
