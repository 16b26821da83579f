"""The product as its users have it: the executable, the command socket, and the kernel to look things up in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from bus.lock import holder
from bus.paths import base_tag
from shims.cgroups.cgroup import Cgroups, host_layout
from shims.nuke import leftovers
from tests.system.patience import FACTOR

MINIBUS = Path(sys.executable).with_name("minibus")
PATIENCE_S = 30.0 * FACTOR
ACTORS = ("namespace", "scheduler", "vm", "container", "network", "host", "files", "plumber", "cc", "cli")
PROCESSES = ("node", "warden", "broker", *ACTORS)
VM_COLUMNS = (
    "id name state uptime type uuid cc_active vlan bridge tap mac ip ip6 qos memory vcpus disk snapshot initrd kernel "
    "cdrom migrate append serial-ports virtio-ports vnc_port pid filesystem hostname init preinit fifo volume "
    "console_port tags"
)
"""Of `vm info`, in order, separated by blanks."""


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition()`; fails naming `what` when that takes longer than `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class Done(NamedTuple):
    """What an ended program left."""

    status: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one sentence with which it failed; checks that there is nothing else."""
        assert self.status != 0, self
        assert self.out == "", self
        return one_sentence(self.err.removesuffix("\n"))


def one_sentence(text: str) -> str:
    """The text, which must be one line for a person to read."""
    assert text.strip(), "it failed without a word"
    assert "\n" not in text, text
    assert len(text) < 500, text
    for ugly in ("Traceback", "Error(", "errno", "<class", "object at 0x", "None"):
        assert ugly not in text, text
    return text


def run(*arguments: object, user: int = 0, **variables: str) -> Done:
    """Run `minibus` to its end."""
    environment = {key: value for key, value in os.environ.items() if key != "MINIBUS_BASE"} | variables
    ended = subprocess.run(
        [MINIBUS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd="/",
        env=environment,
        user=user,
        group=user,
        extra_groups=[],
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


class CommandError(Exception):
    """A command was answered with an error; `str()` is its text."""


class Console:
    """A connection to the command socket."""

    def __init__(self, base: Path, patience_s: float = PATIENCE_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience_s)
        try:
            self._socket.connect(str(base / "minimega"))
        except OSError:
            self._socket.close()
            raise
        self._replies = self._socket.makefile("r", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._replies.close()
        self._socket.close()

    def send(self, line: str) -> None:
        """Send a command and do not wait for its answer."""
        self._socket.sendall(json.dumps({"Command": line, "Suggest": "", "PlumbPipe": ""}).encode())

    def receive(self) -> list[dict[str, Any]]:
        """All responses to the oldest command; raises ConnectionError at the end of the connection."""
        responses: list[dict[str, Any]] = []
        while True:
            text = self._replies.readline()
            if not text:
                raise ConnectionError("the server closed the connection")
            reply = json.loads(text)
            responses += reply["Resp"] or []
            if not reply["More"]:
                return responses

    def command(self, line: str) -> list[dict[str, Any]]:
        """All responses to a command."""
        self.send(line)
        return self.receive()

    def ok(self, *lines: str) -> str:
        """Run commands that must succeed; the text of the last one."""
        text = ""
        for line in lines:
            responses = self.command(line)
            for response in responses:
                if response["Error"]:
                    raise CommandError(response["Error"])
            text = "\n".join(response["Response"] for response in responses)
        return text

    def error(self, line: str) -> str:
        """Run a command that must fail; its error."""
        (response,) = self.command(line)
        assert response["Error"], f"{line} succeeded: {response}"
        return str(response["Error"])

    def header(self, line: str) -> list[str]:
        """The column names of a table."""
        (response,) = self.command(line)
        assert not response["Error"], response
        return list(response["Header"])

    def rows(self, line: str = "vm info") -> list[dict[str, str]]:
        """The rows of a table; none if it is empty."""
        found = []
        for response in self.command(line):
            if response["Error"]:
                raise CommandError(response["Error"])
            found += [dict(zip(response["Header"], row, strict=True)) for row in response["Tabular"] or []]
        return found

    def states(self) -> dict[str, str]:
        """State by VM name."""
        return {row["name"]: row["state"] for row in self.rows()}

    def vm(self, name: str) -> dict[str, str]:
        """The row of one VM."""
        (row,) = [row for row in self.rows() if row["name"] == name]
        return row


class Product:
    """A base directory, minibus on it, and what it has on this machine."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        self.base = base
        self.rootfs = rootfs
        self.tag = base_tag(base.resolve())
        self._guests = Cgroups(host_layout(), self.tag)

    def minibus(self, subcommand: str, *arguments: object) -> Done:
        """Run a subcommand of `minibus` on this base directory."""
        return run(subcommand, "--base", self.base, *arguments)

    def up(self) -> None:
        """Start, detached; every actor is ready."""
        done = self.minibus("up", "--detach")
        assert done == Done(0, "", ""), (done, self.log_end())

    def log_end(self) -> str:
        """The last of what node and actors said."""
        return (self.base / "log" / "minibus.log").read_text()[-5000:]

    def down(self, *flags: str) -> None:
        """Stop."""
        done = self.minibus("down", *flags)
        assert done == Done(0, "", ""), done

    def console(self) -> Console:
        """A new connection to the command socket."""
        return Console(self.base)

    def configured(self) -> Console:
        """A new connection, and `vm config` set so that a container of little memory can be launched."""
        console = self.console()
        console.ok("clear vm config", f"vm config filesystem {self.rootfs}", "vm config memory 32")
        return console

    def ps(self) -> dict[str, dict[str, Any]]:
        """What `minibus ps` says of each process."""
        done = self.minibus("ps", "--json")
        assert done.status == 0, done
        return {entry["actor"]: entry for entry in json.loads(done.out)}

    def pid(self, process: str) -> int:
        """Pid of a process of minibus by its lock file; 0 if it does not run."""
        return holder(self.base / "run" / f"{process}.lock")

    def pids(self) -> dict[str, int]:
        """Pid of every process of minibus; whoever falls is replaced by one with another pid."""
        return {name: self.pid(name) for name in PROCESSES}

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process of minibus; gives its pid."""
        pid = self.pid(process)
        assert pid, f"{process} does not run"
        os.kill(pid, number)
        return pid

    def replaced(self, process: str, old: int, patience_s: float = 5.0 * FACTOR) -> None:
        """Wait until another process has taken the place of a killed one."""
        until(lambda: self.pid(process) not in (0, old), f"a new {process}", patience_s)

    def everything_answers(self, patience_s: float = 5.0 * FACTOR) -> None:
        """Wait until every process runs and the actors a command passes through answer it."""
        until(self._answers, "every actor to answer", patience_s)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, CommandError), self.console() as console:
            console.ok("vm config", "host", "vm info")
            listed = self.ps()
            return list(listed) == list(PROCESSES) and all(entry["state"] == "running" for entry in listed.values())
        return False

    def guest_pids(self) -> set[int]:
        """Every process in a container of this base directory."""
        return {pid for name in self._guests.names() for pid in self._guests.pids(name)}

    def guests_left(self) -> list[str]:
        """What containers have on this machine: processes, cgroups, mounts, devices."""
        return [
            *(f"process {pid}" for pid in sorted(self.guest_pids())),
            *(f"cgroup {name}" for name in sorted(self._guests.names())),
            *leftovers.mounts(self.base, self.tag),
            *leftovers.devices(self.tag),
            *leftovers.names(self.tag),
        ]

    def directories(self) -> list[str]:
        """The instance directories."""
        return sorted((entry.name for entry in self.base.iterdir() if entry.name.isdecimal()), key=int)

    def inside(self, vm_id: str | int) -> Path:
        """What a container has written, seen from the host."""
        return self.base / str(vm_id) / "fs"

    def end(self) -> None:
        """End everything, however it is; then nothing may be left."""
        if not self.pid("node") and self.pid("warden"):
            self.up()
        if self.pid("node"):
            self.minibus("down", "--guests")
        until(lambda: not leftovers.find(self.base, self.tag), "nothing to be left", 10.0 * FACTOR)


@contextlib.contextmanager
def product_on(base: Path, rootfs: Path, *, up: bool = True) -> Iterator[Product]:
    """minibus on a base directory, running unless told otherwise; ended and looked after at the end."""
    product = Product(base, rootfs)
    try:
        if up:
            product.up()
        yield product
    finally:
        product.end()


def shell_init(script: str) -> str:
    """`vm config init` for a script that the container's shell runs; it must not contain an apostrophe or a quote."""
    # Variables are those of the container's shell, not of minibus.
    return f'vm config init /bin/sh -c "export PATH=/bin; {script}"'.replace("$", r"\$")
