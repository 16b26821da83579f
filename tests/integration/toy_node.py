"""A node with toy children: `python -m tests.integration.toy_node BASE CHILD...`.

Each child writes a line a step to `<base>/steps`: its name, what happened, its pid.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import sys
import time
from pathlib import Path

from bus.errors import BusError, UnavailableError
from bus.lock import FileLock
from bus.node import control, supervision
from bus.node.lifecycle import Process, run_process
from bus.node.node import Node
from bus.node.supervision import ChildSpec
from bus.paths import Paths
from shims.linux import process

FDS = 900


def note(base: Path, name: str, what: str) -> None:
    """Write one line."""
    with (base / "steps").open("a") as file:
        file.write(f"{name} {what} {os.getpid()}\n")


class Plain(Process):
    """Serves, and does nothing else."""

    kind = "plain"

    @classmethod
    def run_here(cls, base: Path, lane: socket.socket) -> int:
        """The entry of the child."""
        return run_process(cls, base, lane)

    async def start(self) -> None:
        """Takes a moment."""
        self.note("begins")
        await asyncio.sleep(0.05)
        self.note("is-ready")

    async def stop(self) -> None:
        """At once."""
        self.note("stops")

    def note(self, what: str) -> None:
        """Write one line."""
        note(self.context.base, self.kind, what)


class First(Plain):
    """Of stage 0."""

    kind = "first"


class Second(Plain):
    """Of stage 1."""

    kind = "second"


class Third(Plain):
    """Of stage 2."""

    kind = "third"


class Fourth(Plain):
    """Of stage 2 as well."""

    kind = "fourth"


class Refuser(Plain):
    """Cannot run here."""

    kind = "refuser"

    async def start(self) -> None:
        """Says why."""
        raise UnavailableError("there is no room for it")


class Crasher(Plain):
    """Falls over at its start."""

    kind = "crasher"

    async def start(self) -> None:
        """A bug."""
        raise ValueError("a bug at the start")


class Faller(Plain):
    """Falls over once it serves, unless the file `<base>/stand` is there."""

    kind = "faller"

    async def start(self) -> None:
        """And falls soon."""
        await super().start()
        if not (self.context.base / "stand").exists():
            self.spawn(self._fall(), name="fall")

    async def _fall(self) -> None:
        await asyncio.sleep(0.02)
        os._exit(7)


class Stubborn(Plain):
    """Does not end when told to."""

    kind = "stubborn"

    async def stop(self) -> None:
        """Blocks everything."""
        self.note("stops")
        time.sleep(60)  # noqa: ASYNC251 - that is the point


class Lingerer(Plain):
    """Takes its time to end."""

    kind = "lingerer"

    async def stop(self) -> None:
        """Longer than a start takes."""
        await asyncio.sleep(1.5)


class Keeper(Plain):
    """Has the node keep descriptors for it."""

    kind = "keeper"

    async def start(self) -> None:
        """Takes back what is kept; the first time it stores files that know their own names."""
        await super().start()
        kept = await self.lane.fetch_fds()
        names = sorted(name for name, fd in kept.items() if os.pread(fd, 20, 0) == name.encode())
        self.note(f"has-{len(kept)}-of-which-right-{len(names)}")
        for fd in kept.values():
            os.close(fd)
        if kept:
            return
        for number in range(FDS):
            fd = os.memfd_create("kept")
            os.write(fd, f"fd{number}".encode())
            self.lane.store_fd(f"fd{number}", fd)
            os.close(fd)
        self.lane.drop_fd("fd0")
        self.note("has-stored")


class Speaker(Plain):
    """Says something all the time."""

    kind = "speaker"

    async def start(self) -> None:
        """And begins at once."""
        await super().start()
        self.spawn(self._speak(), name="speak")

    async def _speak(self) -> None:
        for number in itertools.count(1):
            self.log.debug("whispered", pid=os.getpid(), number=number)
            self.log.error("shouted", pid=os.getpid(), number=number)
            await asyncio.sleep(0.01)


class Orphaner(Plain):
    """Starts a process that it does not live to see end."""

    kind = "orphaner"

    async def start(self) -> None:
        """The process ends with status 7 once `<base>/let-go` is there."""
        await super().start()
        if os.fork() == 0:
            note(self.context.base, "orphan", "begins")
            while not (self.context.base / "let-go").exists():
                time.sleep(0.01)  # noqa: ASYNC251 - no loop runs in this process
            os._exit(7)


def warden(base: Path, lane: socket.socket) -> int:
    """Stays without a node while the file `<base>/busy` is there, as the real one does while it has containers."""
    lock = FileLock(Paths(base).run / "warden.lock", "warden", wait_s=5.0)
    note(base, "warden", "begins")
    control.send(lane, {"type": "ready"})
    lane.setblocking(True)
    while True:
        try:
            received = control.receive(lane)
        except OSError:
            received = None
        packet = received[0] if received else {"type": "stop", "end": True}
        match packet["type"]:
            case "ping":
                control.send(lane, {"type": "pong"})
            case "reaped":
                note(base, "warden", f"hears-{packet['pid']}-{packet['status']}")
            case "stop" if not (base / "busy").exists():
                lock.release()
                return 0
            case "stop":
                control.send(lane, {"type": "staying"})
                if packet.get("end"):
                    note(base, "warden", "is-alone")
                    while (base / "busy").exists():
                        time.sleep(0.01)
                    return 0
            case _:
                pass


def child(name: str, stage: int, **options: object) -> ChildSpec:
    """A toy child; its entry is the class of this module, or the function `warden`."""
    entry = "warden" if name == "warden" else f"{name.capitalize()}.run_here"
    return ChildSpec(name, f"tests.integration.toy_node:{entry}", stage=stage, **options)  # type: ignore[arg-type]


QUICK = {"backoff_s": (0.02, 0.2)}
CHILDREN = {
    "warden": child("warden", 0, outlives_node=True, **QUICK),
    "broker": ChildSpec("broker", "bus.broker.broker:run", stage=1),
    "first": child("first", 0),
    "second": child("second", 1, prepare="shims.linux.scheduling:be_prompt", **QUICK),
    "third": child("third", 2, **QUICK),
    "fourth": child("fourth", 2),
    "refuser": child("refuser", 2, **QUICK),
    "crasher": child("crasher", 2, max_restarts=2, **QUICK),
    "faller": child("faller", 2, max_restarts=3, **QUICK),
    "stubborn": child("stubborn", 2, stop_grace_s=0.3),
    "lingerer": child("lingerer", 2),
    "keeper": child("keeper", 2, **QUICK),
    "speaker": child("speaker", 2, **QUICK),
    "orphaner": child("orphaner", 2, **QUICK),
}


def main() -> int:
    """Run the node in the foreground; `ready`, or why not, goes to stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("children", nargs="+", choices=CHILDREN)
    parser.add_argument("--hang-s", type=float, default=5.0)
    arguments = parser.parse_args()
    supervision.HANG_S = arguments.hang_s
    supervision.PING_INTERVAL_S = min(1.0, arguments.hang_s / 4)
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    try:
        node = Node(arguments.base, [CHILDREN[name] for name in arguments.children], ready_fd=os.dup(1))
    except BusError as error:
        sys.stderr.write(f"minibus: {error}\n")
        return 1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return node.run()


if __name__ == "__main__":
    sys.exit(main())
