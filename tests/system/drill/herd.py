"""A hundred containers that must not notice anything, and the evidence that they did not."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.system.product import Product, shell_init, until

BEAT_S = 2
SLOW_MACHINE_S = 20
"""How much later than asked for a sleeping container may be woken on a machine with much to do."""
BEATING = (
    "echo $$ >>/starts; l=0; m=0; while :; do read u r </proc/uptime; n=${u%.*}; "
    "[ $l -gt 0 ] && [ $((n-l)) -gt $m ] && m=$((n-l)); l=$n; echo $n $m >/beat; sleep " + f"{BEAT_S}; done"
)
"""Writes how late it is, and how long the longest break between two turns was, in seconds since the boot."""
TALKING = "echo $$ >>/starts; while :; do i=$((i+1)); echo $i >/count; seq 2000; sleep 0.5; done"
"""Says so much that it stands still within seconds if nobody reads its console."""
TALKERS = 2
ANSWERING = "echo $$ >>/starts; while :; do read line && echo heard $line || sleep 1; done"
TYPIST = "typist"
"""One more, at whose console somebody types."""
_LONG = re.compile(r"-|\d{3,}h")
PROBE = "probe"
"""One more, which is paused and resumed to see whether commands get through to the kernel."""


@dataclass(frozen=True)
class Guest:
    """What must not change while it runs."""

    row: dict[str, str]
    """Of `vm info`, but for the time that passes."""
    pid: int
    created_s: float

    @property
    def vm_id(self) -> str:
        """Its id."""
        return self.row["id"]


def read_words(path: Path) -> list[str]:
    """The words of a small file that a container writes; none if it is not there, or being written."""
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []


class Herd:
    """Launched and started once; `unharmed` says what became of them."""

    def __init__(self, product: Product, size: int) -> None:
        self._product = product
        self._size = size
        self._guests: dict[str, Guest] = {}

    def launch(self) -> None:
        """All of them run, and each has written its first sign of life."""
        with self._product.configured() as console:
            console.ok(shell_init(BEATING), f"vm launch container herd[1-{self._size}]")
            console.ok(f"vm launch container {PROBE}", shell_init(TALKING), f"vm launch container talk[1-{TALKERS}]")
            console.ok(shell_init(ANSWERING), f"vm launch container {TYPIST}")
            console.ok("clear vm config init", "vm start all")
            for row in console.rows():
                pid = int(row["pid"])
                created_s = psutil.Process(pid).create_time()
                self._guests[row["name"]] = Guest(row | {"uptime": ""}, pid, created_s)
        until(lambda: all(map(self._starts, self._guests.values())), "every container to begin")

    @property
    def names(self) -> set[str]:
        """Of all of them."""
        return set(self._guests)

    def unharmed(self, *, with_consoles: bool) -> list[str]:
        """Everything that is wrong with them, as sentences; whether they still have consoles only if asked for."""
        wrong = []
        nothing_of = {"uptime": ""} if with_consoles else {"uptime": "", "console_port": ""}
        with self._product.console() as console:
            listed = {row["name"]: row for row in console.rows()}
        for name, guest in self._guests.items():
            before, row = guest.row | nothing_of, listed.get(name, {}) | nothing_of
            if row != before:
                changed = [f"{key}: {was} is {row.get(key)}" for key, was in before.items() if row.get(key) != was]
                wrong.append(f"{name} is listed otherwise than before: {'; '.join(changed)}")
            wrong += [f"{name} {what}" for what in self._process_harm(guest)]
            if name.startswith("herd"):
                wrong += [f"{name} {what}" for what in self._beat_harm(guest)]
        return wrong

    def lost_consoles(self, waited_s: float = SLOW_MACHINE_S) -> list[str]:
        """Talkers that stand still, because nobody reads their console."""
        talkers = {name: guest for name, guest in self._guests.items() if name.startswith("talk")}
        before = {name: self._count(guest) for name, guest in talkers.items()}
        deadline = time.monotonic() + waited_s
        silent = list(talkers)
        while silent and time.monotonic() < deadline:
            time.sleep(0.1)
            # 2,000 numbers are twice what a terminal holds: three more turns were read by somebody.
            silent = [name for name in silent if self._count(talkers[name]) < before[name] + 3]
        return [f"{name} stands still: nobody reads its console" for name in silent]

    def wrong_ages(self) -> list[str]:
        """Containers that are said to run for longer than the drill, or not at all."""
        with self._product.console() as console:
            ages = {row["name"]: row["uptime"] for row in console.rows() if row["name"] in self._guests}
        wrong = [f"{name} is said to be {age} old" for name, age in ages.items() if age == "0s" or _LONG.match(age)]
        return wrong[:3]

    def deaf_console(self) -> list[str]:
        """Whether nobody answers who types at a console, by its socket."""
        word = f"w{time.monotonic_ns()}"
        path = self._product.base / self._guests[TYPIST].vm_id / "console"
        heard = b""
        try:
            with socket.socket(socket.AF_UNIX) as console:
                console.settimeout(SLOW_MACHINE_S)
                console.connect(str(path))
                console.sendall(f"{word}\n".encode())
                while f"heard {word}".encode() not in heard:
                    data = console.recv(65536)
                    if not data:
                        raise ConnectionError("it was closed")
                    heard += data
        except OSError as error:
            return [f"the console of {TYPIST} does not answer: {error!r} after {heard[-200:]!r}"]
        return []

    def _process_harm(self, guest: Guest) -> list[str]:
        try:
            created_s = psutil.Process(guest.pid).create_time()
        except psutil.NoSuchProcess:
            return [f"has died (pid {guest.pid})"]
        harm = [] if created_s == guest.created_s else [f"has died, and {guest.pid} is another process"]
        starts = self._starts(guest)
        return harm if starts == 1 else [*harm, f"was started {starts} times"]

    def _beat_harm(self, guest: Guest) -> list[str]:
        words: list[str] = []
        deadline = time.monotonic() + 2 * BEAT_S
        while len(words) != 2 and time.monotonic() < deadline:  # it truncates the file before it writes
            words = read_words(self._product.inside(guest.vm_id) / "beat")
        last_s, break_s = map(int, words)
        late_s = time.clock_gettime(time.CLOCK_BOOTTIME) - last_s
        limit_s = BEAT_S + SLOW_MACHINE_S
        return [f"did not run for {how_long:.0f} s" for how_long in (break_s, late_s) if how_long > limit_s]

    def _starts(self, guest: Guest) -> int:
        return len(read_words(self._product.inside(guest.vm_id) / "starts"))

    def _count(self, guest: Guest) -> int:
        return int((read_words(self._product.inside(guest.vm_id) / "count") or ["0"])[0])
