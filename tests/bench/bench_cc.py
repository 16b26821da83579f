"""Command and control: programs in one guest and in 500 (over the bus), large files, the agent, the server's memory.

The budgets of the agent were set before it was written, all others after a first look. Files are far slower than `cat`,
because both ends check every byte: half of the agent's time is SHA-256 without the processor's own instructions.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.bench.machine import MIB, PYTHON, ROOT, need_root, progress, pss_mib, run, scratch
from tests.bench.product import CommandSocket, Product, running, seconds_until
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError, percentile

CLIENT = str(ROOT / "tests" / "bench" / "cc_client.py")
MANY = 500
ONE_ROUNDS = 300
MANY_ROUNDS = 20
FILE_MIB = 256
ROUNDS = 3
STARTS = 20
HELLO = b"hello"
UUID = "5d1b8a5a-54cb-4cd5-9d05-0c4e1f5d2f0a"
TIMEOUT_S = 300.0

ONE_P50 = Budget(name="cc_exec_1_p50", unit="ms", limit=15, direction="<=", of="value")
ONE_P99 = Budget(name="cc_exec_1_p99", unit="ms", limit=50, direction="<=", of="value")
MANY_P50 = Budget(name="cc_exec_500_p50", unit="ms", limit=1500, direction="<=", of="value")
MANY_P99 = Budget(name="cc_exec_500_p99", unit="ms", limit=3000, direction="<=", of="value")
SEND = Budget(name="cc_send", unit="MiB/s", limit=0.1, direction=">=")
RECEIVE = Budget(name="cc_recv", unit="MiB/s", limit=0.1, direction=">=")
AGENT_MEMORY = Budget(name="cc_agent_memory", unit="MiB", limit=16, direction="<=", of="value")
AGENT_START = Budget(name="cc_agent_start", unit="ms", limit=100, direction="<=", of="value")
SERVER_MEMORY = Budget(name="cc_server_memory_500", unit="MiB", limit=64, direction="<=", of="value")
ROWS = (ONE_P50, ONE_P99, MANY_P50, MANY_P99, SEND, RECEIVE, AGENT_MEMORY, AGENT_START, SERVER_MEMORY)


# ------------------------------------------------------------------ guests


@contextlib.contextmanager
def guests(product: Product, rootfs: Path, count: int) -> Iterator[CommandSocket]:
    """So many containers whose agents are connected; gone afterwards."""
    with product.connect() as command:
        for line in (
            f"vm config filesystem {rootfs}",
            "vm config memory 64",
            f"vm launch container {count}",
            "vm start all",
        ):
            command.command(line)
        product.note_guests(command)
        seconds_until(lambda: command.column("clients", "cc") == [str(count)], "not all agents are connected", 120.0)
        yield command
        product.remove(command)


def times(product: Product, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each guest, and of the last of each round."""
    result = json.loads(run([PYTHON, CLIENT, str(product.base), str(count), str(rounds)], TIMEOUT_S))
    each, last = ([value * 1000 for value in result[name]] for name in ("each_s", "last_s"))
    progress(f"{count} guests: median of all done {statistics.median(last):.1f} ms")
    return each, last


def ended(command: CommandSocket, line: str) -> float:
    """Seconds until a command is done in the only guest."""
    begin = time.perf_counter()
    (posted,) = command.command(line)
    number = posted["Data"]
    command.command(f"cc wait {number}")
    elapsed = time.perf_counter() - begin
    if command.column("state", f"cc outcomes {number}") != ["exited"]:
        raise UnavailableError(f"{line}: it did not succeed")
    return elapsed


# ------------------------------------------------------------------ files


def cat_s(source: Path, target: Path) -> float:
    """Seconds in which two `cat` copy a file through a unix socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs, target.open("wb") as out:
        begin = time.perf_counter()
        with (
            subprocess.Popen(["cat", str(source)], stdout=ours.fileno()) as writer,
            subprocess.Popen(["cat"], stdin=theirs.fileno(), stdout=out) as reader,
        ):
            ours.close()
            theirs.close()
            statuses = writer.wait(), reader.wait()
        elapsed = time.perf_counter() - begin
    if any(statuses) or target.stat().st_size != source.stat().st_size:
        raise UnavailableError("cat did not copy the file")
    return elapsed


def transfers(product: Product, command: CommandSocket, place: Path) -> Mapping[str, Measured]:
    """The best of alternating rounds of each; a new file each time, because what is there already is not sent."""
    sent, received, reference = [], [], []
    files = product.base / "files"
    files.mkdir(exist_ok=True)
    for number in range(ROUNDS):
        source = files / f"large{number}"
        with source.open("wb") as file:
            for _ in range(FILE_MIB):
                file.write(os.urandom(MIB))
        reference.append(cat_s(source, place / "copy"))
        sent.append(ended(command, f"cc send large{number}"))
        received.append(ended(command, f"cc recv /tmp/miniccc/files/large{number}"))
        source.unlink()
        (place / "copy").unlink()
        command.command("clear cc responses")
    rate = FILE_MIB / min(reference)
    return {
        SEND.name: Measured(value=FILE_MIB / min(sent), reference=rate),
        RECEIVE.name: Measured(value=FILE_MIB / min(received), reference=rate),
    }


# ------------------------------------------------------------------ agent


def start_s(agent: Path, place: Path) -> float:
    """Seconds from the start of an agent until it has said hello."""
    path = place / "cc"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        arguments = [str(agent), "-uuid", UUID, "-path", str(place / "agent"), "-family", "unix", "-parent", str(path)]
        begin = time.perf_counter()
        with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                connection, _ = listener.accept()
                with connection:
                    heard = b""
                    while HELLO not in heard:
                        data = connection.recv(65536)
                        if not data:
                            raise UnavailableError("the agent says no hello")
                        heard += data
                    return time.perf_counter() - begin
            except TimeoutError:
                raise UnavailableError("the agent does not connect") from None
            finally:
                process.terminate()
                process.wait()
                path.unlink()


def agent_memory_mib(product: Product, command: CommandSocket) -> float:
    """The median PSS of agents."""
    inits = map(int, command.column("pid"))
    found = [child.pid for pid in inits for child in psutil.Process(pid).children() if child.name() == "minibus-agent"]
    return statistics.median(pss_mib([pid]) for pid in found)


def server_pid(product: Product) -> int:
    """Of the actor `cc`."""
    listed = json.loads(run([str(ROOT / ".venv" / "bin" / "minibus"), "ps", "--json", "--base", str(product.base)], 10))
    return next(int(entry["pid"]) for entry in listed if entry["actor"] == "cc")


def cc() -> Mapping[str, Measured]:
    """One guest first, then 500."""
    need_root()
    results: dict[str, Measured] = {}
    with scratch() as place:
        agent, rootfs = place / "minibus-agent", place / "rootfs"
        run([PYTHON, "-m", "shims.images.agent_build", str(agent)], 120)
        run([PYTHON, "-m", "shims.images.rootfs", str(rootfs), str(agent)], 60)
        starts = sorted(start_s(agent, place) for _ in range(STARTS))
        results[AGENT_START.name] = Measured(value=statistics.median(starts) * 1000)
        with running() as product:
            with guests(product, rootfs, 1) as command:
                results[AGENT_MEMORY.name] = Measured(value=agent_memory_mib(product, command))
                each, _ = times(product, 1, ONE_ROUNDS)
                results[ONE_P50.name] = Measured(value=percentile(each, 50))
                results[ONE_P99.name] = Measured(value=percentile(each, 99))
                results |= transfers(product, command, place)
                command.command("clear cc")
            with guests(product, rootfs, MANY):
                each, _ = times(product, MANY, MANY_ROUNDS)
                results[MANY_P50.name] = Measured(value=percentile(each, 50))
                results[MANY_P99.name] = Measured(value=percentile(each, 99))
                results[SERVER_MEMORY.name] = Measured(value=pss_mib([server_pid(product)]))
    return results


BENCHMARK = Benchmark(rows=ROWS, run=cc)
