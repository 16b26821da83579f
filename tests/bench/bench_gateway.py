"""The bus over TCP with keys: asks, events, and what clients notice while others abuse the open ports."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.bench.machine import MINIBUS, PYTHON, REFERENCE, ROOT, run, scratch
from tests.bench.product import Product, running
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

ROUNDS = 3
CLIENT = str(ROOT / "tests" / "bench" / "gateway_client.py")
ABUSE = ("halves", "strangers", "garbage", "nosy", "requests")
"""All at once: handshakes that never end, unknown keys, bytes by chance, greedy subscriptions, refused requests."""
TIMEOUT_S = 120

ASK = Budget(name="gateway_ask", unit="us", limit=3.0, direction="<=")
"""Against a raw round trip with CURVE and one through a raw broker, together."""
FAR = Budget(name="gateway_p99_abused", unit="ms", limit=50.0, direction="<=", of="value")
NEAR = Budget(name="local_p99_abused", unit="ms", limit=50.0, direction="<=", of="value")
"""Both with their 99th percentile without abuse as reference."""
EVENTS = Budget(name="gateway_events", unit="events/s", limit=5_000, direction=">=", of="value")
LARGE = Budget(name="gateway_64_kib_events", unit="MiB/s", limit=50, direction=">=", of="value")


def gateway() -> Mapping[str, Measured]:
    """All rows, on one running minibus."""
    with scratch() as place, running("--listen", f"tcp://127.0.0.1:{_two_ports()}") as product:
        control = _key(product, place, "control", "--role", "control")
        tap = _key(product, place, "tap", "--role", "tap", "--namespace", "abused")
        found = {ASK.name: _ask(product, control, place)}
        flows = {EVENTS.name: ("events", "events_s"), LARGE.name: ("bytes", "mib_s")}
        for name, (what, figure) in flows.items():
            found[name] = Measured(value=_client(what, product, control)[figure])
        idle = _client("paced", product, control)
        with _abused(tap):
            abused = _client("paced", product, control)
    for row, who in ((FAR, "far"), (NEAR, "near")):
        found[row.name] = Measured(value=abused[f"{who}_p99_us"] / 1000, reference=idle[f"{who}_p99_us"] / 1000)
    return found


def _ask(product: Product, control: Path, place: Path) -> Measured:
    """Medians over alternating rounds of 2,000 round trips each, so that a slow moment hits all of them."""
    subject, reference = [], []
    for _ in range(ROUNDS):
        raw = [json.loads(run([PYTHON, str(REFERENCE / one), "client", str(place)], 60)) for one in RAW]
        reference.append(sum(float(one["median_us"]) for one in raw))
        subject.append(_client("ask", product, control)["median_us"])
    return Measured(value=statistics.median(subject), reference=statistics.median(reference))


RAW = ("curve_echo.py", "echo.py")


def _client(what: str, product: Product, key: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(run([PYTHON, CLIENT, what, str(product.base), str(key)], TIMEOUT_S))
    return found


def _key(product: Product, place: Path, name: str, *flags: str) -> Path:
    file = place / f"{name}.toml"
    run([MINIBUS, "key", "make", name, *flags, "--base", str(product.base), "--out", str(file)], 10)
    return file


@contextlib.contextmanager
def _abused(key: Path) -> Iterator[None]:
    """All kinds of abuse go on meanwhile."""
    with contextlib.ExitStack() as stack:
        for kind in ABUSE:
            argv = [PYTHON, "-m", "tests.system.gateway_abuser", kind, str(key)]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT))
            stack.callback(process.kill)
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise UnavailableError(f"the abuse `{kind}` did not start")
        yield


def _two_ports() -> int:
    """The first of two consecutive ports that nobody uses, below those that the kernel gives to clients."""
    for port in range(10_000 + os.getpid() % 10_000, 32_000, 2):
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise UnavailableError("there are no two free ports")


BENCHMARK = Benchmark(rows=(ASK, FAR, NEAR, EVENTS, LARGE), run=gateway)
