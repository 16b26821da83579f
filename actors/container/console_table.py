"""The consoles of all containers: their terminals, and the sockets at which they are served.

The node holds a copy of each terminal's master, because closing the last one ends any init that uses its terminal.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from actors.container.console import Console
from actors.container.console_poller import Poller
from actors.container.console_sockets import Door, listen_tcp, listen_unix
from bus.logs.logs import Log
from bus.paths import NO_ADDRESS
from shims.files.scroll_back import ScrollBack

SOCKET = "console"
SCROLL_BACK = "console.scroll-back"
"""In an instance directory."""
PREFIX = "pty-"
MAX_VIEWERS = 64
"""Connections to one console."""
MAX_CONNECTIONS = 1_000
"""To all consoles together: descriptors must be left for the consoles of further containers."""
OF_ROOT = 8
"""Connections to each console, and to all, that no user of the host can take from root: users reach the ports only."""


def store_name(vm_id: int) -> str:
    """Under which name the node keeps the copy."""
    return f"{PREFIX}{vm_id}"


def past(directory: str) -> ScrollBack:
    """What a console of this instance directory, which is not served now, has said."""
    return ScrollBack.load(Path(directory) / SCROLL_BACK)


class Home(NamedTuple):
    """Where a console is served."""

    directory: str
    """Of the instance."""
    port: int = 0
    """The TCP port that it had before, and will have again if that is free; 0: any."""


class Served:
    """One console and its sockets."""

    def __init__(self, console: Console, home: Home) -> None:
        self.console = console
        self.path = Path(home.directory) / SOCKET
        self.door: Door | None = None
        self.tcp_door: Door | None = None
        self.problem = ""
        """Why not all of it is open."""
        self._wanted_port = home.port

    @property
    def port(self) -> int:
        """The TCP port; 0 if there is none."""
        return self.tcp_door.port if self.tcp_door is not None else 0

    def open(self, poller: Poller, address: str, on_connected: Callable[[socket.socket], None]) -> None:
        """Open the sockets that are missing; raises OSError."""
        if self.door is None:
            self.door = Door(poller, listen_unix(self.path), on_connected)
        if self.tcp_door is None and address != NO_ADDRESS:
            self.tcp_door = Door(poller, listen_tcp(address, self._wanted_port), on_connected)

    def close(self) -> None:
        """Close them; the viewers are the console's."""
        for door in (self.door, self.tcp_door):
            if door is not None:
                door.close()
        if self.door is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


class Consoles:
    """See the module."""

    def __init__(
        self, *, store: Callable[[str, int], None], drop: Callable[[str], None], address: str, log: Log
    ) -> None:
        """`store` and `drop` are the node's; `address` is an IP address for the TCP ports, or `NO_ADDRESS`."""
        self._store = store
        self._drop = drop
        self._address = address
        self._log = log
        self._poller = Poller(log)
        self._served: dict[int, Served] = {}

    def __contains__(self, vm_id: int) -> bool:
        return vm_id in self._served

    def vm_ids(self) -> list[int]:
        """Whose consoles there are."""
        return list(self._served)

    def get(self, vm_id: int) -> Console | None:
        """The console of a container that lives, if it is there."""
        served = self._served.get(vm_id)
        return served.console if served is not None else None

    def master(self, vm_id: int) -> int:
        """The pty master of a console; -1 if there is none."""
        served = self._served.get(vm_id)
        return served.console.master if served is not None else -1

    def port(self, vm_id: int) -> int:
        """TCP port of a console; 0 if there is none."""
        served = self._served.get(vm_id)
        return served.port if served is not None else 0

    def begin(self, vm_id: int, home: Home, master: int) -> str:
        """Serve the console of a new container; gives what is missing of it, in a few words, otherwise nothing."""
        self.end(vm_id)
        scroll_back = ScrollBack(Path(home.directory) / SCROLL_BACK)
        if master < 0:
            return "the container actor is out of descriptors"
        self._store(store_name(vm_id), master)
        return self._serve(vm_id, home, master, scroll_back)

    def go_on(self, vm_id: int, home: Home, master: int) -> None:
        """Serve a console that had been served before, by an earlier process or a node that had the only copy."""
        self._store(store_name(vm_id), master)
        self._serve(vm_id, home, master, past(home.directory))

    def restore(self, stored: Mapping[str, int], homes: Mapping[int, Home]) -> None:
        """Take the masters that the node handed back; those of no living container are dropped."""
        for name, master in stored.items():
            number = name.removeprefix(PREFIX)
            home = homes.get(int(number)) if number.isdecimal() else None
            if home is not None:
                self._serve(int(number), home, master, past(home.directory))
            else:
                os.close(master)
                self._drop(name)

    def open_missing(self) -> None:
        """Try once more to open what could not be opened."""
        for vm_id, served in self._served.items():
            if served.door is None or (served.tcp_door is None and self._address != NO_ADDRESS):
                self._open(vm_id, served)

    def end(self, vm_id: int) -> None:
        """The container has ended: its viewers see its last words, and what it said is kept in its directory.

        Harmless when there is no console.
        """
        served = self._served.pop(vm_id, None)
        if served is not None:
            served.close()
            served.console.end()
            self._drop(store_name(vm_id))

    def dismiss(self) -> None:
        """Let those go who wait for output, and nobody wait any more."""
        for served in self._served.values():
            served.console.dismiss()

    def close(self) -> None:
        """Serve nobody any more; the node's copies keep the terminals open."""
        for served in self._served.values():
            served.close()
            served.console.close()
        self._served.clear()
        self._poller.close()

    def _serve(self, vm_id: int, home: Home, master: int, scroll_back: ScrollBack) -> str:
        served = self._served[vm_id] = Served(Console(master, scroll_back, self._poller), home)
        return self._open(vm_id, served)

    def _open(self, vm_id: int, served: Served) -> str:
        try:
            served.open(self._poller, self._address, functools.partial(self._welcome, served.console))
            served.problem = ""
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != served.problem:  # it is tried often
                self._log.warn("console_not_served", vm_id=vm_id, error=problem)
            served.problem = problem
        return served.problem

    def _welcome(self, console: Console, connection: socket.socket) -> None:
        kept = 0 if connection.family == socket.AF_UNIX else OF_ROOT
        everywhere = sum(each.console.viewers for each in self._served.values())
        if console.viewers < MAX_VIEWERS - kept and everywhere < MAX_CONNECTIONS - kept:
            console.welcome(connection)
            return
        with connection, contextlib.suppress(OSError):
            connection.send(b"minibus: there are as many viewers as can be, %d here\r\n" % console.viewers)
