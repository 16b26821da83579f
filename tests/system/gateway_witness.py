"""Those who notice what becomes of a gateway under abuse: clients that do nothing wrong, and figures of processes."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from bus.client import connect
from bus.messages.control import Ping
from bus.messages.vm import StartVms
from bus.port import Port
from tests.integration.gateway_host import ROOT, GatewayHost, client
from tests.system.patience import FACTOR

MIB = 1024 * 1024
ASK_S = 10.0 * FACTOR
SOON_S = 0.25 * FACTOR
"""Within this, 19 of 20 asks are answered under any abuse, on a machine with two processors that others use as well."""
LATEST_S = 2.0 * FACTOR
"""And every one within this."""
PAUSE_S = 0.005
BROKER_MIB = 16.0
GATEWAY_MIB = 96.0
"""By how much they may grow, for good or for a while."""


class Usage:
    """What a process used since the beginning of this."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._begin_cpu_s, self._begin_rss = self._cpu_s(), self._process.memory_info().rss
        self._most_rss = self._begin_rss
        self.descriptors = self._process.num_fds()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def look(self) -> None:
        """Note how large it is."""
        self._most_rss = max(self._most_rss, self._process.memory_info().rss)

    @property
    def grown_mib(self) -> float:
        """How much larger it was than in the beginning, at most."""
        return (self._most_rss - self._begin_rss) / MIB

    @property
    def cpu_s(self) -> float:
        """Seconds of a processor."""
        return self._cpu_s() - self._begin_cpu_s

    def open_now(self) -> int:
        """Descriptors."""
        return self._process.num_fds()


class Seen:
    """What those noticed who did nothing wrong."""

    def __init__(self, host: GatewayHost) -> None:
        self.gateway, self.broker = (Usage(host.processes[kind].pid) for kind in ("gateway", "broker"))
        self.remote_s: list[float] = []
        self.local_s: list[float] = []
        self.began_s = time.monotonic()
        self.took_s = 0.0
        self.count: dict[str, int] = {}

    def p95_s(self, times_s: list[float]) -> float:
        """The time that 19 of 20 asks took at most. Of so few asks the 99th percentile would be the slowest."""
        return sorted(times_s)[len(times_s) * 95 // 100]

    def __str__(self) -> str:
        shown = {
            "asks": len(self.remote_s),
            "remote_ms": [
                round(1000 * one, 1) for one in (statistics.median(self.remote_s), self.p95_s(self.remote_s))
            ],
            "local_ms": [round(1000 * one, 1) for one in (statistics.median(self.local_s), self.p95_s(self.local_s))],
            "gateway": [round(self.gateway.grown_mib, 1), round(self.gateway.cpu_s / self.took_s, 2)],
            "broker": [round(self.broker.grown_mib, 1), round(self.broker.cpu_s / self.took_s, 2)],
        }
        return f"{shown} {self.count}"

    def check(
        self,
        gateway_mib: float = GATEWAY_MIB,
        broker_mib: float = BROKER_MIB,
        broker_share: float = 0.5,
        soon_s: float = SOON_S,
    ) -> None:
        """Nobody noticed much, and nothing grew."""
        assert len(self.remote_s) > 20, str(self)
        assert self.p95_s(self.remote_s) < soon_s, str(self)
        assert self.p95_s(self.local_s) < soon_s, str(self)
        assert max(*self.remote_s, *self.local_s) < LATEST_S, str(self)
        assert self.gateway.grown_mib < gateway_mib, str(self)
        assert self.broker.grown_mib < broker_mib, str(self)
        assert self.broker.cpu_s / self.took_s < broker_share, str(self)


@asynccontextmanager
async def abuser(kind: str, file: Path) -> AsyncIterator[dict[str, int]]:
    """One of the programs of `gateway_abuser`, which has begun; afterwards what it counted is in the dict."""
    counted: dict[str, int] = {}
    argv = [sys.executable, "-m", "tests.system.gateway_abuser", kind, str(file)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), ASK_S) == b"ready\n"
        yield counted
        process.terminate()
        counted.update(json.loads(await asyncio.wait_for(process.stdout.readline(), ASK_S)))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@asynccontextmanager
async def noticed(host: GatewayHost) -> AsyncIterator[Seen]:
    """Clients that ask and listen meanwhile; what they noticed."""
    good = await host.make()
    async with client(good) as far, connect(host.base) as near, asyncio.TaskGroup() as tasks:
        events = await far.subscribe("vm/good/")
        seen = Seen(host)
        probes = [
            tasks.create_task(_ask(far, seen.remote_s)),
            tasks.create_task(_ask(near, seen.local_s)),
            tasks.create_task(_look(seen)),
        ]
        yield seen
        for _ in range(20):
            await near.ask("vm", StartVms(target="1"), timeout_s=ASK_S, namespace="good")
            event = await asyncio.wait_for(events.next(), ASK_S)
            assert event.topic == "vm/good/web/started/"
        assert events.lost == 0
        for probe in probes:
            probe.cancel()
    sys.stdout.write(f"{seen}\n")


async def _ask(port: Port, times_s: list[float]) -> None:
    while True:
        begin_s = time.monotonic()
        await port.ask("vm", Ping(), timeout_s=ASK_S)
        times_s.append(time.monotonic() - begin_s)
        await asyncio.sleep(PAUSE_S)


async def _look(seen: Seen) -> None:
    while True:
        for usage in (seen.gateway, seen.broker):
            usage.look()
        await asyncio.sleep(0.05)
