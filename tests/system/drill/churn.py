"""Clients of the command socket that launch, start, tag, pause, kill and flush, and write down what they were told."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter

from tests.system.drill.herd import read_words
from tests.system.drill.ledger import Outcome, VmRecord, VmTruth, broken_promises, outcome_of
from tests.system.drill.timeline import Timeline
from tests.system.product import Console, Product, one_sentence, shell_init

ANSWER_S = 60.0
"""Any command has ended by then: a hang is noticed in 5 s, a launch that hangs in the cloner after some more."""
KEPT = 8
"""VMs of a client, beyond which it ends old ones."""
PAUSE_S = 0.05
STARTING = "echo $$ >>/starts; while :; do sleep 1000; done"


class Churn(threading.Thread):
    """One client with a namespace of its own, in which nobody else gives commands."""

    def __init__(self, product: Product, timeline: Timeline, namespace: str, seed: int) -> None:
        super().__init__(name=namespace, daemon=True)
        self._product = product
        self._timeline = timeline
        self._namespace = namespace
        self._chance = random.Random(seed)
        self._ending = threading.Event()
        self._console: Console | None = None
        self._living: list[VmRecord] = []
        self.records: list[VmRecord] = []
        self.refusals: Counter[str] = Counter()
        self.commands = 0
        self.slowest_s = 0.0
        self.broken: list[str] = []
        self.counts_starts = True

    def prepare(self) -> None:
        """Configure the namespace, before anything falls over."""
        with self._product.console() as console:
            console.ok(f"namespace {self._namespace}", "clear vm config")
            console.ok(f"vm config filesystem {self._product.rootfs}", "vm config memory 32", shell_init(STARTING))

    def run(self) -> None:
        """Until told to end."""
        while not self._ending.is_set():
            try:
                self._live()
            except Exception as error:
                self.broken.append(f"{self._namespace}: client failed: {error!r}")
                raise
            time.sleep(PAUSE_S)
        self._hang_up()

    def end(self) -> None:
        """After the command under way; waits for it."""
        self._ending.set()
        self.join(ANSWER_S + 10)
        if self.is_alive():
            self.broken.append(f"{self._namespace}: a command never ended")

    def check(self) -> list[str]:
        """Every promise that was broken, once nothing falls over any more."""
        found = list(self.broken)
        with self._product.console() as console:
            console.ok(f"namespace {self._namespace}")
            listed = {row["name"]: row for row in console.rows()}
        known = {record.name for record in self.records}
        found += [f"{self._namespace}: {name} exists and nobody has launched it" for name in listed.keys() - known]
        for record in self.records:
            found += broken_promises(record, self._truth(listed.get(record.name)))
        return found

    # --- one life

    def _live(self) -> None:
        record = VmRecord(f"{self._namespace}-{len(self.records)}")
        self.records.append(record)
        self._do(record, "launch", f"vm launch container {record.name}")
        if record.launch.maybe:
            self._living.append(record)
        if record.launch is Outcome.DONE and self._chance.random() < 0.7:
            self._do(record, "start", f"vm start {record.name}")
        if record.launch is Outcome.DONE and self._chance.random() < 0.4:
            self._do(record, "tag", f"vm tag {record.name} mine {record.name}")
        if len(self._living) > KEPT or self._chance.random() < 0.3:
            self._end_one(self._living.pop(self._chance.randrange(len(self._living))) if self._living else record)

    def _end_one(self, record: VmRecord) -> None:
        self._do(record, "kill", f"vm kill {record.name}")
        if record.kill is Outcome.DONE and self._chance.random() < 0.8:
            starts = self._truth(self._listed(record.name)).starts
            if starts and (starts > 1 or not record.start.maybe):
                self.broken.append(f"{record.name}: its init was executed {starts} times, start was {record.start}")
            self._do(record, "flush", f"vm flush {record.name}")

    def _listed(self, name: str) -> dict[str, str] | None:
        with contextlib.suppress(Exception), self._product.console() as console:
            console.ok(f"namespace {self._namespace}")
            return next((row for row in console.rows() if row["name"] == name), None)
        return None

    def _truth(self, row: dict[str, str] | None) -> VmTruth:
        if row is None:
            return VmTruth("", 0, "")
        starts = len(read_words(self._product.inside(row["id"]) / "starts"))
        return VmTruth(
            row["state"], starts if self.counts_starts else None, str(json.loads(row["tags"]).get("mine", ""))
        )

    # --- commands

    def _do(self, record: VmRecord, what: str, line: str) -> None:
        begun_s = time.monotonic()
        error = self._command(line)
        took_s = time.monotonic() - begun_s
        self.commands += 1
        self.slowest_s = max(self.slowest_s, took_s)
        outcome = outcome_of(error)
        record.set(what, outcome, error)
        if error:
            time.sleep(PAUSE_S)
            self._timeline.note(f"{line}: {outcome.value} after {took_s:.2f} s: {error}")
            self.refusals["".join("#" if letter.isdigit() else letter for letter in error)] += 1

    def _command(self, line: str) -> str:
        """The error it was answered with; nothing if it succeeded."""
        try:
            console = self._connected()
        except (OSError, ConnectionError):
            return "no connection to the command socket"
        try:
            responses = console.command(f"namespace {self._namespace} {line}")
        except TimeoutError:
            self.broken.append(f"`{line}` was not answered within {ANSWER_S} s")
            self._hang_up()
            return "outcome unknown: no answer"
        except (OSError, ConnectionError):
            self._hang_up()
            return "the server closed the connection"
        errors = [one_sentence(response["Error"]) for response in responses if response["Error"]]
        return "; ".join(errors)

    def _connected(self) -> Console:
        if self._console is None:
            self._console = Console(self._product.base, patience_s=ANSWER_S)
        return self._console

    def _hang_up(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None
