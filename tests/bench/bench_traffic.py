"""What passes between two containers in one VLAN, against two veth pairs in a bare bridge."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shims.network import netns
from tests.bench.machine import need_root, progress, run, wait_until
from tests.bench.product import Product, with_rootfs
from tests.bench.report import Benchmark, Budget, Measured, UnavailableError

ROUNDS = 3
PINGS = 3000
STREAM_S = 1.0
CHUNK = 256 * 1024
TIMEOUT_S = 10.0
ADDRESSES = ("10.77.0.1", "10.77.0.2")
LATENCY = Budget(name="guest_to_guest_latency", unit="us", limit=1.2, direction="<=")
THROUGHPUT = Budget(name="guest_to_guest_throughput", unit="MiB/s", limit=0.9, direction=">=")


class End:
    """A thread in the network namespace of a process, with an address on one interface."""

    def __init__(self, pid: int, interface: str, address: str) -> None:
        self.address = address
        self._pool = ThreadPoolExecutor(2)
        self._netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        run([*inside, "address", "add", f"{address}/24", "dev", interface], TIMEOUT_S)
        run([*inside, "link", "set", interface, "up"], TIMEOUT_S)

    def close(self) -> None:
        """Leave it."""
        self._pool.shutdown()
        os.close(self._netns)

    def open(self, kind: int) -> socket.socket:
        """One that is bound to the address."""
        return self._pool.submit(self._bound, kind).result()

    def _bound(self, kind: int) -> socket.socket:
        netns.enter(self._netns)
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(TIMEOUT_S)
        made.bind((self.address, 0))
        return made


Pair = tuple[End, End]


def traffic() -> Mapping[str, Measured]:
    """Alternating rounds of both; of each the best."""
    need_root()
    latency_us: dict[str, list[float]] = {"minibus": [], "bare": []}
    rate: dict[str, list[float]] = {"minibus": [], "bare": []}
    with with_rootfs() as (product, rootfs), _containers(product, rootfs) as guests, _bare() as bare:
        for number in range(1, ROUNDS + 1):
            for name, pair in (("bare", bare), ("minibus", guests)):
                latency_us[name].append(_latency_us(*pair))
                rate[name].append(_mib_per_s(*pair))
                progress(f"round {number}, {name}: {latency_us[name][-1]:.1f} us, {rate[name][-1]:.0f} MiB/s")
    best_us = {name: min(found) for name, found in latency_us.items()}
    best = {name: max(found) for name, found in rate.items()}
    return {
        LATENCY.name: Measured(value=best_us["minibus"], reference=best_us["bare"]),
        THROUGHPUT.name: Measured(value=best["minibus"], reference=best["bare"]),
    }


# ---------------------------------------------------------------- the two sides


@contextlib.contextmanager
def _containers(product: Product, rootfs: Path) -> Iterator[Pair]:
    with product.connect() as connection:
        connection.command("vm config net bench")
        product.launch(connection, "2", rootfs)
        pids = list(map(int, connection.column("pid")))
        with _ends(pids, "veth0") as pair:
            yield pair
        product.remove(connection)


@contextlib.contextmanager
def _bare() -> Iterator[Pair]:
    """A bridge in a network namespace of its own, and two others with an end each."""
    with contextlib.ExitStack() as stack:
        bridge, *ends = (stack.enter_context(_namespace()) for _ in range(3))
        inside = ["nsenter", f"--net=/proc/{bridge}/ns/net", "ip", "link"]
        run([*inside, "add", "bench", "up", "type", "bridge"], TIMEOUT_S)
        for number, pid in enumerate(ends):
            peer = ["peer", "name", "veth0", "netns", str(pid)]
            run([*inside, "add", f"bench{number}", "up", "master", "bench", "type", "veth", *peer], TIMEOUT_S)
        yield stack.enter_context(_ends(ends, "veth0"))


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """The pid of a process in a network namespace of its own."""
    own = Path("/proc/self/ns/net").readlink()
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as process:
        try:
            if not wait_until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != own, TIMEOUT_S):
                raise UnavailableError("unshare makes no network namespace")
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def _ends(pids: list[int], interface: str) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(contextlib.closing(End(pid, interface, address)))
            for pid, address in zip(pids, ADDRESSES, strict=True)
        )
        yield first, second


# ---------------------------------------------------------------- what is measured


def _latency_us(near: End, far: End) -> float:
    """The median of a datagram's way there and back."""
    with near.open(socket.SOCK_DGRAM) as here, far.open(socket.SOCK_DGRAM) as there:
        target = there.getsockname()
        if not wait_until(lambda: _echoed(here, there, target), TIMEOUT_S):
            raise UnavailableError("the ends do not hear each other")
        with _beside(lambda: _echo(there, PINGS)):
            return statistics.median(_ping_s(here, target) for _ in range(PINGS)) * 1e6


def _echoed(here: socket.socket, there: socket.socket, target: tuple[str, int]) -> bool:
    """Whether a first datagram arrives: a bridge takes a moment to know a new port."""
    there.settimeout(0.05)
    try:
        here.sendto(b"x", target)
        there.recv(16)
    except TimeoutError:
        return False
    finally:
        there.settimeout(TIMEOUT_S)
    return True


def _echo(there: socket.socket, count: int) -> None:
    for _ in range(count):
        data, sender = there.recvfrom(16)
        there.sendto(data, sender)


def _ping_s(here: socket.socket, target: tuple[str, int]) -> float:
    begin = time.perf_counter()
    here.sendto(b"x", target)
    here.recv(16)
    return time.perf_counter() - begin


def _mib_per_s(near: End, far: End) -> float:
    """One TCP connection."""
    with near.open(socket.SOCK_STREAM) as here, far.open(socket.SOCK_STREAM) as listener:
        listener.listen()
        here.connect(listener.getsockname())
        there, _ = listener.accept()
        with there:
            there.settimeout(TIMEOUT_S)
            with _beside(lambda: _send(here, STREAM_S)):
                return _received(there)


def _send(here: socket.socket, seconds: float) -> None:
    data = bytes(CHUNK)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        here.sendall(data)
    here.shutdown(socket.SHUT_WR)


def _received(there: socket.socket) -> float:
    buffer = bytearray(CHUNK)
    begin, total = time.perf_counter(), 0
    while count := there.recv_into(buffer):
        total += count
    return total / 2**20 / (time.perf_counter() - begin)


@contextlib.contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Something that another thread does meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


BENCHMARK = Benchmark(rows=(LATENCY, THROUGHPUT), run=traffic)
