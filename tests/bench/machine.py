"""What the benchmarks share about this machine: programs, times, memory, and waiting for the kernel to be done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.bench.report import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
REFERENCE = Path(__file__).resolve().parent / "reference"
PYTHON = str(ROOT / ".venv" / "bin" / "python")
MINIBUS = str(ROOT / ".venv" / "bin" / "minibus")
MIB = 1024 * 1024
INIT = ("/bin/sleep", "1000000")
"""The first process of every container, on both sides; it needs no console and starts nothing."""


def progress(text: str) -> None:
    """One line on stderr, so that the table alone is on stdout."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def need_root() -> None:
    """Raises UnavailableError unless run as root, which namespaces and cgroups need."""
    if os.geteuid() != 0:
        raise UnavailableError("must be run as root")


def run(arguments: Sequence[str], timeout_s: float) -> str:
    """Standard output of a program in the repository's root; raises UnavailableError if it fails or does not end."""
    name = _short(arguments)
    with _group(arguments) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{name}: not done after {timeout_s:g} s") from error
    if process.returncode != 0:
        said = (err.strip() or out.strip() or "no message").splitlines()[-1]
        raise UnavailableError(f"{name}: exit status {process.returncode}: {said}")
    return out


@contextlib.contextmanager
def _group(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A child that gets the chance to clean up (SIGTERM) before it is killed, whatever ends the caller."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            list(arguments), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )
    except OSError as error:
        raise UnavailableError(f"{arguments[0]}: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def wall_s(arguments: Sequence[str]) -> float:
    """Seconds from start to end of one program with its output discarded; raises UnavailableError if it fails."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    begin = time.perf_counter()
    pid = os.posix_spawn(arguments[0], list(arguments), dict(os.environ), file_actions=actions)
    _, status = os.waitpid(pid, 0)
    elapsed = time.perf_counter() - begin
    if code := os.waitstatus_to_exitcode(status):
        raise UnavailableError(f"{_short(arguments)}: exit status {code}")
    return elapsed


def _short(arguments: Sequence[str]) -> str:
    """A command line as it is named in a message: without folders and without what follows the first words."""
    return " ".join([Path(arguments[0]).name, *arguments[1:3]])


def pss_mib(pids: Sequence[int]) -> float:
    """Proportional set size of the processes together, in MiB (proc(5), smaps_rollup)."""
    return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids) / MIB


def wait_until(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.01) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True


def network_namespaces() -> int:
    """How many network namespaces the kernel still holds, those it is about to free included (slabinfo(5))."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/slabinfo").read_text().splitlines():
            if line.startswith("net_namespace "):
                return int(line.split()[1])
    return 0


def settle(timeout_s: float = 60.0) -> None:
    """Wait until the kernel has freed the namespaces of the last measurement, which it does long after they are gone.

    Others may hold namespaces too, so the end is that the number no longer falls.
    """
    last, since = network_namespaces(), time.monotonic()
    end = since + timeout_s
    while last and time.monotonic() - since < 1.0 and time.monotonic() < end:
        time.sleep(0.05)
        now = network_namespaces()
        if now < last:
            last, since = now, time.monotonic()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory with a short path, for unix sockets; gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="mbb-", dir="/tmp"))  # sun_path holds 107 bytes
    try:
        yield path
    finally:
        shutil.rmtree(path)


def build_rootfs(target: Path) -> Path:
    """The small root file system that both sides start their containers from."""
    run([PYTHON, "-m", "shims.images.rootfs", str(target)], timeout_s=60)
    return target


USED = ("AnonPages", "Shmem", "KernelStack", "PageTables", "Percpu", "VmallocUsed")
"""What is nobody else's to take (proc(5), meminfo); slabs are counted by their objects, because empty ones are."""


def used_kib() -> float:
    """Memory that is in use on the whole machine, files cached by the kernel apart."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    pages = sum(float(fields[1]) for fields in lines if fields[0].rstrip(":") in USED)
    try:
        slabs = [line.split()[1:4] for line in Path("/proc/slabinfo").read_text().splitlines()[2:]]
    except OSError as error:
        raise UnavailableError(f"/proc/slabinfo: {error.strerror}") from error
    return pages + sum(int(active) * int(size) for active, _, size in slabs) / 1024


def compile_launch() -> Path:
    """Build the C reference; raises UnavailableError where there is no compiler."""
    BUILD.mkdir(parents=True, exist_ok=True)
    source, target = REFERENCE / "launch.c", BUILD / "launch"
    run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(source)], timeout_s=60)
    return target


def launch_reference(
    program: Path, count: int, rootfs: Path, work: Path, *, interface: bool = False
) -> dict[str, float]:
    """Let one thread of C launch and remove `count` containers; its figures in seconds (see launch.c).

    With `interface` each gets one that is plugged into a bridge. `work` should live as long as the base directory of
    the other side: on ext4 a new directory's first inodes cost half as much again.
    """
    flags = ["-n"] if interface else []
    arguments = [str(program), *flags, str(count), str(rootfs), str(work), *INIT]
    result: dict[str, float] = json.loads(run(arguments, timeout_s=120))
    return result


@contextlib.contextmanager
def launched_reference(program: Path, count: int, rootfs: Path, work: Path) -> Iterator[None]:
    """The containers of the C reference, running; they are removed at the end."""
    arguments = [str(program), "-w", str(count), str(rootfs), str(work), *INIT]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "launched\n":
            raise UnavailableError("the C reference could not launch its containers")
        yield
        process.communicate(timeout=120)
