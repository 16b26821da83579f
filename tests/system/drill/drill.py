"""One drill: a product with a hundred containers and clients at work, faults by a seed, and the verdict."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shims.nuke import leftovers
from tests.system.drill.busload import BusLoad
from tests.system.drill.churn import Churn
from tests.system.drill.clock import YEAR_S, WallClock
from tests.system.drill.faults import BACK_S, CLONER, VICTIMS, Faults
from tests.system.drill.herd import Herd
from tests.system.drill.timeline import Timeline
from tests.system.product import ACTORS, PROCESSES, Done, Product, product_on

HERD = 100
CLIENTS = 2
PAUSE_S = (0.1, 0.8)
"""Between faults."""
LATE_S = 5 * BACK_S
"""What counts as broken: the machine may be five times slower than the budget is meant for. The report has it all."""
LOG_TAIL = 40
LEFT_S = 10.0
KEPT = Path(__file__).parents[3] / "build" / "drill"
"""Has a directory for each that has failed, named by the tag of its base directory."""


class DrillError(AssertionError):
    """A promise was broken."""


class Drill:
    """Use `drill_on`; between its beginning and its end call rounds."""

    def __init__(self, product: Product, seed: int, *, herd: int = HERD, shown: bool = False) -> None:
        self.product = product
        self.seed = seed
        self.chance = random.Random(seed)
        self.consoles_last = True
        """Whether some process with a copy of each terminal has lived all the time."""
        self.timeline = Timeline(shown=shown)
        self.faults = Faults(product, self.timeline, self.chance)
        self.herd = Herd(product, herd)
        self.bus = BusLoad(product, self.timeline)
        self.clients = [Churn(product, self.timeline, f"churn{n}", seed + n) for n in range(CLIENTS)]

    def begin(self) -> None:
        """Containers run, clients are at work."""
        self.herd.launch()
        for client in self.clients:
            client.prepare()
        self.bus.begin()
        for client in self.clients:
            client.start()
        self.timeline.note("all at work")

    def end(self) -> None:
        """Clients come to their end."""
        for client in self.clients:
            client.end()
        self.bus.end()

    def verdict(self) -> list[str]:
        """Every promise that was broken."""
        late = [
            f"{what} took {max(took_s):.1f} s" for what, took_s in self.faults.back_s.items() if max(took_s) > LATE_S
        ]
        found = [*self.faults.wrong, *late, *self.bus.check(), *self.herd.unharmed(with_consoles=self.consoles_last)]
        if self.consoles_last:
            found += [*self.herd.lost_consoles(), *self.herd.deaf_console()]
        for client in self.clients:
            found += client.check()
        return found

    # --- rounds

    def each(self, fault: Callable[[str], None], victims: tuple[str, ...] = VICTIMS) -> None:
        """The same fault for every process in turn, in an order that the seed gives."""
        for process in self.chance.sample(victims, len(victims)):
            time.sleep(self.chance.uniform(*PAUSE_S))
            fault(process)

    def kill(self) -> None:
        """Every process killed in turn."""
        self.each(self.faults.kill)

    def stop(self) -> None:
        """Every process hangs, several at a time; each also for so short a while that it is not replaced."""
        mortal = [name for name in VICTIMS if name not in ("node", CLONER)]
        self.chance.shuffle(mortal)
        half = len(mortal) // 2
        for group in (mortal[:half], mortal[half:]):
            time.sleep(self.chance.uniform(*PAUSE_S))
            self.faults.hang(tuple(group))
        self.faults.hang((CLONER,))
        self.each(self.faults.doze, ("node", *self.chance.sample(mortal, 2)))

    def starve(self) -> None:
        """Every process without descriptors, in turn; and the node when it would need some."""
        self.each(self.faults.starve)
        self.faults.starve_the_node_of_a_child(self.chance.choice([name for name in PROCESSES if name != "node"]))

    def disk(self) -> None:
        """A disk that is full for a while, three times, with processes killed meanwhile."""
        for client in self.clients:
            client.counts_starts = False
        self.faults.fill_the_disk(self.product.base, ())
        self.faults.fill_the_disk(self.product.base, tuple(self.chance.sample(ACTORS, 2)))
        self.faults.fill_the_disk(self.product.base, ("warden", "broker"))

    def clock(self, clock: WallClock) -> None:
        """The wall clock jumps by years, to and fro, and with each jump a process is killed."""
        for years in (1, -2, 1):
            self.faults.jump(clock, years * YEAR_S, self.chance.choice(ACTORS))
            self.faults.wrong += self.herd.wrong_ages()

    def everything(self) -> None:
        """All processes killed at once."""
        time.sleep(self.chance.uniform(*PAUSE_S))
        self.faults.everything()
        self.consoles_last = False

    # --- report

    def report(self) -> str:
        """A few lines on what was done and how long it took."""
        lines = [f"seed {self.seed}"]
        for client in self.clients:
            lines.append(f"{client.name}: {client.commands} commands, the slowest {client.slowest_s:.1f} s")
        lines.append(
            f"bus: {len(self.bus.vms_made)} launches, {len(self.bus.told)} programs, "
            f"{self.bus.received} lines ({self.bus.repeated} batches repeated)"
        )
        for what, took_s in self.faults.back_s.items():
            lines.append(f"{what}: back in {', '.join(f'{one_s:.2f}' for one_s in took_s)} s")
        counted = sum((client.refusals for client in self.clients), self.bus.refusals.copy())
        lines += [f"{count} times: {text}" for text, count in counted.most_common()]
        return "\n".join(lines)

    def post_mortem(self) -> str:
        """What helps to find out what went wrong."""
        log = (self.product.base / "log" / "minibus.log").read_text(errors="replace").splitlines()
        wrong = [line for line in log if '"level": "error"' in line or "Traceback" in line]
        return "\n".join(["--- timeline", self.timeline.text(), "--- errors in the log", *wrong[-LOG_TAIL:]])


@contextlib.contextmanager
def drill_on(base: Path, rootfs: Path, seed: int, *, herd: int = HERD, shown: bool = False) -> Iterator[Drill]:
    """A drill under way on this base directory; at the end the verdict, and all is removed. Raises DrillError.

    Of one that fails, journals and log are kept in `KEPT`.
    """
    with product_on(base, rootfs) as product:
        drill = Drill(product, seed, herd=herd, shown=shown)
        kept = KEPT / product.tag
        try:
            drill.begin()
            try:
                yield drill
            finally:
                drill.end()
            _keep(base, kept)  # before the end, which condenses the journals
            broken = [*drill.verdict(), *_leftovers(product)]
            if broken:
                raise DrillError("\n".join(broken[:50]))
            shutil.rmtree(kept)
        except BaseException:
            print(drill.post_mortem(), f"journals and log are in {kept}", sep="\n")
            raise
        finally:
            print(drill.report())


def _leftovers(product: Product) -> list[str]:
    """What is still there after an orderly end."""
    listed = [f"{name} is {row['state']}" for name, row in product.ps().items() if row["state"] != "running"]
    done = product.minibus("down", "--guests")
    deadline = time.monotonic() + LEFT_S
    while (left := leftovers.find(product.base, product.tag)) and time.monotonic() < deadline:
        time.sleep(0.05)
    said = [f"`minibus down --guests` said {done}"] if done != Done(0, "", "") else []
    return [*listed, *said, *(f"left: {what}" for what in left)]


def _keep(base: Path, kept: Path) -> None:
    """What tells how it came to that."""
    shutil.rmtree(kept, ignore_errors=True)
    for name in ("state", "log"):
        shutil.copytree(base / name, kept / name)
