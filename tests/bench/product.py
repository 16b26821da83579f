"""The subject of the benchmarks, used as any user would: the `minibus` command and the command socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.bench.machine import INIT, MINIBUS, PYTHON, build_rootfs, need_root, progress, run, scratch, wait_until
from tests.bench.report import UnavailableError

UP_TIMEOUT_S = 30.0
DOWN_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
SHIM = Path(PYTHON).resolve()
"""The program a container's first process runs until its init takes over."""


class CommandSocket:
    """A connection to `<base>/minimega`: JSON requests, one JSON line per reply."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(COMMAND_TIMEOUT_S)
        try:
            self._sock.connect(str(path))
        except OSError as error:
            self._sock.close()
            raise UnavailableError(f"{path.name} socket: {error.strerror}") from error
        self._replies = self._sock.makefile("r", encoding="utf-8")

    def close(self) -> None:
        """End the connection."""
        self._replies.close()
        self._sock.close()

    def command(self, line: str) -> list[dict[str, Any]]:
        """All responses to one command line; raises UnavailableError if one of them is an error."""
        request = json.dumps({"Command": line, "Suggest": "", "PlumbPipe": ""})
        try:
            self._sock.sendall(request.encode() + b"\n")
            responses = list(self._responses())
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{line}: {error}") from error
        for response in responses:
            if response["Error"]:
                raise UnavailableError(f"{line}: {response['Error']}")
        return responses

    def _responses(self) -> Iterator[dict[str, Any]]:
        more = True
        while more:
            text = self._replies.readline()
            if not text:
                raise ConnectionError("the server closed the connection")
            reply = json.loads(text)
            yield from reply["Resp"] or []
            more = reply["More"]

    def timed(self, line: str) -> float:
        """Seconds until the last reply to one command line."""
        begin = time.perf_counter()
        self.command(line)
        return time.perf_counter() - begin

    def column(self, name: str, command: str = "vm info") -> list[str]:
        """The cells of one column of a table, over all hosts."""
        return [
            row[response["Header"].index(name)]
            for response in self.command(command)
            for row in response["Tabular"] or []
        ]


class Product:
    """A running minibus on a base directory of its own."""

    def __init__(self, base: Path, ready_s: float) -> None:
        self.base = base
        self.ready_s = ready_s
        """Seconds that `minibus up --detach` took to return."""
        self._seen: dict[int, psutil.Process] = {}
        self._guests: set[int] = set()
        self._cgroups: set[Path] = set()

    @contextlib.contextmanager
    def connect(self) -> Iterator[CommandSocket]:
        """A new connection to the command socket."""
        connection = CommandSocket(self.base / "minimega")
        try:
            yield connection
        finally:
            connection.close()

    def processes(self) -> list[int]:
        """Process ids of everything that runs for this base without guests, whether minibus lists it or not.

        Raises UnavailableError if an actor is not running.
        """
        listed = json.loads(run([MINIBUS, "ps", "--json", "--base", str(self.base)], timeout_s=10))
        if down := [entry["actor"] for entry in listed if entry["state"] != "running"]:
            raise UnavailableError(f"not running: {', '.join(down)}")
        pids = sorted({int(entry["pid"]) for entry in listed} | set(_pids_of(self.base)) - self._guests)
        self._remember(pids)
        return pids

    def configure(self, connection: CommandSocket, rootfs: Path) -> None:
        """Say what the next guests are made from."""
        connection.command(f"vm config filesystem {rootfs}")
        connection.command(f"vm config init {' '.join(INIT)}")

    def launch(self, connection: CommandSocket, names: str, rootfs: Path) -> float:
        """Launch and start the guests that `names` stands for, a count or a range, on an otherwise idle connection.

        Returns the seconds until each of them executes its own init. Looking up their process ids is not in the time.
        Raises UnavailableError if a guest is not RUNNING then.
        """
        self.configure(connection, rootfs)
        elapsed = connection.timed(f"vm launch container {names}")
        pids = self.note_guests(connection)
        elapsed += connection.timed(f"vm start {'all' if names.isdecimal() else names}")
        elapsed += seconds_until(lambda: all(map(_runs_init, pids)), "a started guest has not executed its init")
        if others := [state for state in connection.column("state") if state != "RUNNING"]:
            raise UnavailableError(f"{len(others)} guests are not RUNNING after their start, one is {others[0]}")
        return elapsed

    def remove(self, connection: CommandSocket) -> float:
        """Kill and flush all guests; the seconds until their processes, cgroups and directories are gone."""
        elapsed = connection.timed("vm kill all") + connection.timed("vm flush")
        return elapsed + seconds_until(lambda: not self._guests_left(), "something of the flushed guests is left")

    def note_guests(self, connection: CommandSocket) -> list[int]:
        """Process ids of the guests that were not known yet; remembers them to see later whether they are gone."""
        pids = [pid for pid in map(int, connection.column("pid")) if pid not in self._guests]
        self._guests.update(pids)
        self._remember(pids)
        for pid in pids:
            self._cgroups |= _cgroups_of(pid)
        return pids

    def _guests_left(self) -> bool:
        directories = any(entry.name.isdecimal() for entry in self.base.iterdir())
        return directories or any(path.exists() for path in self._cgroups) or any(map(self._lives, self._guests))

    def _lives(self, pid: int) -> bool:
        return self._seen[pid].is_running()

    def _remember(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._seen[pid] = psutil.Process(pid)

    def leftovers(self) -> list[str]:
        """What of this base is still on the machine, each as one phrase."""
        cgroups = self._cgroups | {path.parent for path in self._cgroups}  # the parent is this base's own
        found = [f"process {pid}" for pid in self._seen if self._lives(pid)]
        found += [f"cgroup {path}" for path in sorted(cgroups) if path.exists()]
        return found + [f"process {pid}, by its arguments or mounts" for pid in _pids_of(self.base)]

    def remove_by_force(self) -> None:
        """End whatever belongs to this base and remove its cgroups; the last resort after a failed `down`."""
        self._remember(_pids_of(self.base))
        for process in self._seen.values():
            self._cgroups |= _cgroups_of(process.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(self._seen.values()), timeout=10)
        for path in sorted(self._cgroups) + sorted({path.parent for path in self._cgroups}):
            with contextlib.suppress(OSError):
                path.rmdir()


def seconds_until(condition: Callable[[], bool], complaint: str, timeout_s: float = 30.0) -> float:
    """How long the condition took to come true; raises UnavailableError with the complaint if it did not."""
    begin = time.perf_counter()
    if not wait_until(condition, timeout_s, pause_s=0.002):
        raise UnavailableError(f"{complaint}, {timeout_s:g} s later")
    return time.perf_counter() - begin


def _runs_init(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/exe").samefile(SHIM)
    except OSError as error:
        raise UnavailableError(f"the first process of a guest, {pid}, is gone") from error


def _cgroups_of(pid: int) -> set[Path]:
    """The cgroup directories of a process that were made for it, that is, not shared with this one."""
    own = Path("/proc/self/cgroup").read_text().splitlines()
    paths = set()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if line not in own and path != "/":
                paths.add(Path("/sys/fs/cgroup") / (controllers.removeprefix("name=") or "unified") / path[1:])
    return paths


def _pids_of(base: Path) -> list[int]:
    """Processes that name the base directory in their arguments or have something of it mounted (proc(5))."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if bytes(base) in arguments or f"{base}/" in Path(f"/proc/{pid}/mountinfo").read_text():
                found.append(pid)
    return found


@contextlib.contextmanager
def running(*flags: str) -> Iterator[Product]:
    """Bring minibus up on a new base, with these flags of `minibus up`, and take it down afterwards.

    Raises UnavailableError if it does not come up, or if something of it is left on the machine at the end.
    """
    need_root()
    with scratch() as base:
        begin = time.perf_counter()
        try:
            run([MINIBUS, "up", "--base", str(base), "--detach", *flags], UP_TIMEOUT_S)
            product = Product(base, time.perf_counter() - begin)
            product.processes()
        except BaseException:
            _down(base)
            raise
        try:
            yield product
        except BaseException:
            if complaint := _take_down(product):
                progress(complaint)  # what ended the measurement matters more
            raise
        if complaint := _take_down(product):
            raise UnavailableError(complaint)


def _down(base: Path) -> str:
    """Ask minibus to stop with its guests; the error, if it could not."""
    try:
        run([MINIBUS, "down", "--guests", "--base", str(base)], DOWN_TIMEOUT_S)
    except UnavailableError as error:
        return str(error)
    return ""


def _take_down(product: Product) -> str:
    """Stop minibus and see that nothing is left of it; what went wrong, if something did."""
    complaint = _down(product.base)
    if not complaint and wait_until(lambda: not product.leftovers(), timeout_s=5):
        return ""
    left = product.leftovers()
    product.remove_by_force()
    return complaint or f"left behind: {', '.join(left[:3])} ({len(left)} in all)"


@contextlib.contextmanager
def with_rootfs() -> Iterator[tuple[Product, Path]]:
    """A running minibus and a root file system for its containers."""
    with scratch() as place:
        rootfs = build_rootfs(place / "rootfs")
        with running() as product:
            yield product, rootfs
