"""Clients on the bus: requests that are repeated by id until they are answered, and a pipe with numbered lines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TypeVar

from bus.client import connect
from bus.errors import BusError, OutcomeUnknownError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.base import Message, Request
from bus.messages.host import ProgramResult, RunProgram
from bus.messages.namespace import QueueVms
from bus.messages.vm import GetVms, GuestKind, KillVms
from bus.port import Port
from tests.system.drill.timeline import Timeline
from tests.system.product import Product

COUNTED = "counted"
"""A namespace in which every request makes one VM."""
ASK_S = 60.0
PAUSE_S = 0.3
LINE_PAUSE_S = 0.02
LINES_AT_ONCE = 20
GIVE_UP_S = 90.0

R = TypeVar("R", bound=Message)


class BusLoad(threading.Thread):
    """One thread with an event loop and some clients in it."""

    def __init__(self, product: Product, timeline: Timeline, ids: str = "drill") -> None:
        """`ids` begins the id of each request: what has been asked before is answered as before."""
        super().__init__(name="bus", daemon=True)
        self._product = product
        self._timeline = timeline
        self._ids = ids
        self._marks = product.base / "marks"
        self._ending = threading.Event()
        self._reading = threading.Event()
        self.broken: list[str] = []
        self.vms_made: set[str] = set()
        self.told: dict[str, str] = {}
        """Run id to what its client was told: done, or why that is not known."""
        self.written = 0
        self.received = 0
        self.repeated = 0
        self.refusals: Counter[str] = Counter()

    def begin(self) -> None:
        """Run; the pipe has its reader when this returns."""
        with self._product.console() as console:
            console.ok(f"namespace {COUNTED}", f"vm config filesystem {self._product.rootfs}", "vm config memory 32")
        self.start()
        assert self._reading.wait(30), "nobody could attach to the pipe"

    def end(self) -> None:
        """After what is under way; waits for it."""
        self._ending.set()
        self.join(GIVE_UP_S)
        if self.is_alive():
            where = [str(task.get_stack(limit=1)) for task in asyncio.all_tasks(self._loop)]
            self.broken.append(f"a client on the bus never came to an end: {where}")

    def run(self) -> None:
        """See the module."""
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.broken.append(f"a client on the bus failed: {error!r}")
            raise

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with connect(self._product.base) as port, asyncio.TaskGroup() as group:
            group.create_task(self._launch(port))
            group.create_task(self._run_programs(port))
            group.create_task(self._pipe(port))

    # --- requests

    async def _launch(self, port: Port) -> None:
        """One VM a request; half of them are killed again."""
        for number in itertools.count():
            if self._ending.is_set():
                return
            report = await self._until_answered(
                port, "namespace", QueueVms(kind=GuestKind.CONTAINER, names="1"), f"{self._ids}-queue-{number}"
            )
            names = {result.name for result in report.results if result.vm_id >= 0} if report is not None else set()
            self.vms_made |= names
            for name in names if number % 2 else ():
                await self._until_answered(port, "vm", KillVms(target=name), f"{self._ids}-kill-{number}")
            await asyncio.sleep(PAUSE_S)

    async def _run_programs(self, port: Port) -> None:
        """Each leaves a mark: there may not be two of the same."""
        for number in itertools.count():
            if self._ending.is_set():
                return
            name = f"{self._ids}-run-{number}"
            request = RunProgram(argv=("sh", "-c", f"echo {name} >>{self._marks}"))
            try:
                result = await port.ask("host", request, timeout_s=ASK_S, msg_id=name)
            except OutcomeUnknownError as error:
                self.told[name] = "unknown"
                self._timeline.note(f"{name}: {error}")
                await self._repeat(port, request, name)
            except BusError as error:
                self.told[name] = "refused"
                self.refusals[str(error)] += 1
            else:
                self.told[name] = "done" if result.exit_status == 0 else f"exit {result.exit_status}"
            await asyncio.sleep(PAUSE_S)

    async def _repeat(self, port: Port, request: RunProgram, name: str) -> None:
        with contextlib.suppress(BusError):
            answer: ProgramResult = await port.ask("host", request, timeout_s=ASK_S, msg_id=name)
            self.told[name] = "done" if answer.exit_status == 0 else f"exit {answer.exit_status}"

    async def _until_answered(self, port: Port, to: str, request: Request[R], msg_id: str) -> R | None:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            try:
                return await port.ask(to, request, timeout_s=ASK_S, msg_id=msg_id, namespace=COUNTED)
            except BusError as error:
                if not error.retryable and not isinstance(error, OutcomeUnknownError):
                    self.refusals[f"{to}: {error}"] += 1
                    return None
            await asyncio.sleep(0.05)
        self.broken.append(f"{msg_id} was not answered within {GIVE_UP_S} s")
        return None

    # --- pipe

    async def _pipe(self, port: Port) -> None:
        async with PipeReader(port, "drill") as reader, asyncio.TaskGroup() as group:
            self._reading.set()
            reading = group.create_task(self._read(reader))
            await self._write(port)
            reading.cancel()  # leaving its block, the writer was told that the reader has everything

    async def _write(self, port: Port) -> None:
        numbers = itertools.count(1)
        async with PipeWriter(port, "drill") as writer:
            while not self._ending.is_set():
                self.written += LINES_AT_ONCE
                await writer.write(b"".join(b"%d\n" % next(numbers) for _ in range(LINES_AT_ONCE)))
                await asyncio.sleep(LINE_PAUSE_S)

    async def _read(self, reader: PipeReader) -> None:
        """Each line once and in order; what comes again says so."""
        while (delivery := await reader.next()) is not None:
            self.repeated += delivery.repeated
            for line in delivery.data.splitlines():
                number = int(line)
                if number == self.received + 1:
                    self.received = number
                elif number > self.received + 1 or not delivery.repeated:
                    self.broken.append(f"pipe: line {number} after {self.received}")
                    self.received = max(number, self.received)
        self.broken.append("the pipe ended before its writer")

    # --- oracle

    def check(self) -> list[str]:
        """Every promise that was broken, once nothing falls over any more."""
        found = list(self.broken)
        if self.received != self.written:
            found.append(f"pipe: {self.received} of {self.written} acknowledged lines arrived")
        made = set(asyncio.run(_listed(self._product.base)))
        found += [f"{name} was made, and nobody was told so" for name in sorted(made - self.vms_made)]
        found += [f"{name} was reported made, and is not listed" for name in sorted(self.vms_made - made)]
        marks = Counter(self._marks.read_text().split() if self._marks.exists() else ())
        found += [f"{name} was run {count} times" for name, count in marks.items() if count > 1]
        for name, told in self.told.items():
            if told == "done" and not marks[name]:
                found.append(f"{name} was reported done, and has never run")
            if told == "refused" and marks[name]:
                found.append(f"{name} was refused, and has run")
        return found


async def _listed(base: Path) -> list[str]:
    async with connect(base) as port:
        listed = await port.ask("vm", GetVms(), timeout_s=ASK_S, namespace=COUNTED)
        return [vm.name for vm in listed.vms]
