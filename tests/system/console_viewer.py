"""Those who watch the console of a container: raw connections, `minibus console` in a script and at a terminal."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator

from tests.integration.terminal import Terminal, on_terminal
from tests.system.product import (
    MINIBUS,
    PATIENCE_S,
    Console,
    Done,
    Product,
    shell_init,
    until,
)

CTRL_RIGHT_BRACKET = "\x1d"


class Viewer:
    """A raw connection to a console."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.seen = ""
        self.ended = False

    def look(self) -> str:
        """Take what is there; gives all that was seen."""
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(65_536):
                self.seen += data.decode(errors="replace")
            self.ended = True
        return self.seen

    def sees(self, text: str) -> None:
        """Wait for it."""
        until(lambda: text in self.look(), f"{text!r}; saw {self.seen[-500:]!r}")

    def type(self, text: str) -> None:
        """Type it."""
        self.sock.send(text.encode())

    def is_let_go(self) -> None:
        """Wait for the end of the connection."""
        until(lambda: bool(self.look() or True) and self.ended, "the connection to end")


@contextlib.contextmanager
def watching(product: Product, vm: dict[str, str], *, tcp: bool = False) -> Iterator[Viewer]:
    """Connect to the console of a VM."""
    address = ("127.0.0.1", int(vm["console_port"]))
    path = str(product.base / vm["id"] / "console")
    with socket.create_connection(address) if tcp else socket.socket(socket.AF_UNIX) as sock:
        if not tcp:
            sock.connect(path)
        yield Viewer(sock)


def begin(product: Product, *arguments: object, stdin: int, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start `minibus console`."""
    argv = [str(MINIBUS), "console", "--base", str(product.base), *map(str, arguments)]
    return subprocess.Popen(argv, text=True, errors="replace", stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)


def script(product: Product, text: str, *arguments: object) -> Done:
    """Run `minibus console` with this on stdin."""
    process = begin(product, *arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(text, timeout=PATIENCE_S)
    return Done(process.returncode, out.replace("\r\n", "\n"), err)


def launched(console: Console, name: str, init: str = "") -> dict[str, str]:
    """Launch and start a VM; its row of `vm info`."""
    console.ok(shell_init(init) if init else "clear vm config init", f"vm launch container {name}", f"vm start {name}")
    return console.vm(name)


@contextlib.asynccontextmanager
async def at_terminal(product: Product, *arguments: str) -> AsyncIterator[Terminal]:
    """`minibus console` on a terminal of its own."""
    argv = [str(MINIBUS), "console", "--base", str(product.base), *arguments]
    async with on_terminal(argv, os.environ, "/") as terminal:
        yield terminal
