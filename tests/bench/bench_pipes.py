"""Pipes: lines through `minibus pipe`, one to a hundred, a hundred to one, in turns, large ones, and how soon."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.machine import MINIBUS, PYTHON, ROOT, run, scratch, wait_until
from tests.bench.product import CommandSocket, Product, running
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

LOAD = (PYTHON, str(ROOT / "tests" / "bench" / "pipe_load.py"))
LINE = 95
LINES = 1_000_000
FAN = 100
FAN_BATCHES = 400
BATCH_LINES = 65_536 // LINE
MIB = 1024 * 1024
LARGE = 200
VIA_MESSAGES = 200
LATENCY_LINES = 5_000
TIMEOUT_S = 120

ONE = Budget(name="pipe_one_to_one", unit="lines/s", limit=150_000, direction=">=", of="value")
PLAIN = Budget(name="pipe_one_to_100_plain", unit="batches/s", limit=0.7, direction=">=")
CREDIT = Budget(name="pipe_one_to_100_credit", unit="batches/s", limit=0.7, direction=">=")
MANY = Budget(name="pipe_100_to_one", unit="lines/s", limit=150_000, direction=">=", of="value")
TURNS = Budget(name="pipe_round_robin_10", unit="lines/s", limit=100_000, direction=">=", of="value")
MEBIBYTE = Budget(name="pipe_1_mib_messages", unit="MiB/s", limit=100, direction=">=", of="value")
VIA = Budget(name="pipe_via", unit="messages/s", limit=0.3, direction=">=")
P50 = Budget(name="pipe_latency_p50", unit="ms", limit=2, direction="<=", of="value")
P99 = Budget(name="pipe_latency_p99", unit="ms", limit=10, direction="<=", of="value")
ROWS = (ONE, PLAIN, CREDIT, MANY, TURNS, MEBIBYTE, VIA, P50, P99)


@contextlib.contextmanager
def reader(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of readers that are ready; killed if it still runs at the end."""
    with subprocess.Popen([*LOAD, *map(str, arguments)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise UnavailableError("the readers did not start")
            yield process
        finally:
            process.kill()


def rate(process: subprocess.Popen[str], writer: Sequence[object]) -> float:
    """What the readers got a second while the writer wrote."""
    run([*LOAD, *map(str, writer)], TIMEOUT_S)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    result = json.loads(out)
    return float(result["count"]) / float(result["elapsed_s"])


def flow(product: Product, readers: int, writers: int, lines: int, size: int = LINE) -> float:
    """Lines a second, all readers together, through a pipe of the name `flow`."""
    total = lines // writers * writers
    with reader("read", product.base, "flow", readers, total) as process:
        return rate(process, ("write", product.base, "flow", writers, lines, size))


def one_to_one(product: Product, command: CommandSocket, place: Path) -> float:
    """Lines a second through two `minibus pipe`, from the start of the writer to its end; raises if one is lost."""
    source, target = place / "in", place / "out"
    source.write_bytes((b"x" * (LINE - 1) + b"\n") * LINES)
    pipe = [MINIBUS, "pipe", "--base", str(product.base)]
    with target.open("wb") as out, subprocess.Popen([*pipe, "--read", "one"], stdout=out) as reading:
        if not wait_until(lambda: command.column("readers", "pipe") == ["1"], 20):
            raise UnavailableError("`minibus pipe` did not attach")
        begin = time.perf_counter()
        with source.open("rb") as data:
            subprocess.run([*pipe, "--write", "one"], stdin=data, check=True, timeout=TIMEOUT_S)
        elapsed_s = time.perf_counter() - begin
        command.command("clear pipe one")
        reading.wait(TIMEOUT_S)
    whole = target.stat().st_size == source.stat().st_size
    source.unlink()
    target.unlink()
    if not whole:
        raise UnavailableError("lines were lost")
    return LINES / elapsed_s


def raw_fan(place: Path) -> float:
    """Batches a second from a bare PUB to a hundred SUB."""
    endpoint = f"ipc://{place}/fan"
    with reader("tap", endpoint, "pipe/", FAN, FAN_BATCHES) as process:
        return rate(process, ("publish", endpoint, "pipe/minimega/fan/all/", FAN, FAN_BATCHES, BATCH_LINES * LINE))


def plain_fan(product: Product, command: CommandSocket) -> float:
    """The same through a pipe."""
    lines = FAN_BATCHES * BATCH_LINES
    topic = "pipe/minimega/fan/"
    with reader("tap", f"ipc://{product.base}/bus/events", topic, FAN, FAN_BATCHES) as process:
        command.command("pipe fan mode all")
        if not wait_until(lambda: command.column("readers", "pipe") == [str(FAN)], 20):
            raise UnavailableError("the subscribers did not all join")
        found = rate(process, ("write", product.base, "fan", 1, lines, LINE))
    command.command("clear pipe fan")
    return found


def credit_fan(product: Product) -> float:
    """The same to attached readers."""
    lines = FAN_BATCHES * BATCH_LINES
    with reader("read", product.base, "flow", FAN, lines * FAN) as process:
        return rate(process, ("write", product.base, "flow", 1, lines, LINE)) / BATCH_LINES


def via(product: Product, command: CommandSocket) -> Measured:
    """Messages a second through `cat`, against running `cat` so often from here."""
    begin = time.perf_counter()
    for _ in range(VIA_MESSAGES):
        subprocess.run(["cat"], input=b"x\n", capture_output=True, check=True)
    reference = VIA_MESSAGES / (time.perf_counter() - begin)
    command.command("pipe flow via cat")
    begin = time.perf_counter()
    with reader("read", product.base, "flow", 1, VIA_MESSAGES) as process:
        begin = time.perf_counter()
        rate(process, ("write", product.base, "flow", 1, VIA_MESSAGES, 2))
        elapsed_s = time.perf_counter() - begin
    return Measured(value=VIA_MESSAGES / elapsed_s, reference=reference)


def pipes() -> Mapping[str, Measured]:
    """One after the other on one running minibus."""
    found: dict[str, Measured] = {}
    with scratch() as place, running() as product, product.connect() as command:
        found[ONE.name] = Measured(value=one_to_one(product, command, place))
        raw = raw_fan(place)
        found[PLAIN.name] = Measured(value=plain_fan(product, command), reference=raw)
        found[CREDIT.name] = Measured(value=credit_fan(product), reference=raw)
        found[MANY.name] = Measured(value=flow(product, 1, FAN, LINES))
        found[MEBIBYTE.name] = Measured(value=flow(product, 1, 1, LARGE, MIB))
        command.command("pipe flow mode round-robin")
        found[TURNS.name] = Measured(value=flow(product, 10, 1, LINES))
        command.command("clear pipe flow")
        load = [*LOAD, "latency", str(product.base), "latency", "1", str(LATENCY_LINES)]
        times = json.loads(run(load, TIMEOUT_S))
        found[P50.name] = Measured(value=times["p50_ms"])
        found[P99.name] = Measured(value=times["p99_ms"])
        found[VIA.name] = via(product, command)
    return found


BENCHMARK = Benchmark(rows=ROWS, run=pipes)
