"""Consoles as their users have them: sockets, ports, `minibus console`, several watchers, hostile and silent guests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import termios
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.terminal import COLUMNS, ROWS, Terminal, on_terminal
from tests.system.product import (
    MINIBUS,
    PATIENCE_S,
    Console,
    Done,
    Product,
    product_on,
    shell_init,
    until,
)

CTRL_RIGHT_BRACKET = "\x1d"
COUNT = "while :; do i=$((i+1)); echo tick $i; sleep 0.02; done"
FLOOD = "exec yes 0123456789012345678901234567890123456789012345678901234567890123456789"


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


def opened(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def launched(console: Console, name: str, init: str = "") -> dict[str, str]:
    """Launch and start a VM; its row of `vm info`."""
    console.ok(shell_init(init) if init else "clear vm config init", f"vm launch container {name}", f"vm start {name}")
    return console.vm(name)


# --- sockets and ports


def test_it_is_served_from_launch_to_end(shared: Product, console: Console) -> None:
    console.ok("vm launch container web")
    built = console.vm("web")
    path = shared.base / built["id"] / "console"
    assert path.stat().st_mode & 0o777 == 0o600
    (listening,) = [c for c in psutil.Process(shared.pid("container")).net_connections("tcp") if c.status == "LISTEN"]
    assert listening.laddr == ("127.0.0.1", int(built["console_port"]))
    with watching(shared, built) as one, watching(shared, built, tcp=True) as two:
        console.ok("vm start web")
        for viewer in (one, two):
            viewer.sees("web is up; press Enter for a shell\r\n")
        two.type("\n")
        one.sees("/ # ")
        one.type("stty size; echo a$((1+1))b\n")
        for viewer in (one, two):
            viewer.sees("24 80\r\na2b\r\n")
        with watching(shared, built) as late:
            late.sees(one.look())
        two.type("exit 3\n" + "kill -9 $$\n")
        console.ok("vm kill web")
        for viewer in (one, two):
            viewer.is_let_go()
    assert not path.exists()
    assert console.vm("web")["console_port"] == "0"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(built["console_port"])))
    console.ok("vm start web")
    again = console.vm("web")
    with watching(shared, again) as viewer, watching(shared, again, tcp=True) as other:
        for each in (viewer, other):
            each.sees("web is up")
            assert "a2b" not in each.seen, "another container, another console"


def test_an_init_that_ends_is_heard_to_the_end(shared: Product, console: Console) -> None:
    console.ok(shell_init("read x; seq 3000; echo last words"), "vm launch container web", "vm start web")
    with watching(shared, console.vm("web")) as viewer:
        viewer.type("go\n")
        viewer.is_let_go()
        assert viewer.seen.endswith("\r\n3000\r\nlast words\r\n")
    until(lambda: console.states() == {"web": "QUIT"}, "the end")
    done = script(shared, "", "--read-only", "web")
    assert (done.status, done.err, done.out.splitlines()[-1]) == (0, "", "last words")


def test_a_viewer_that_stands_still_harms_nobody(shared: Product, console: Console) -> None:
    vm = launched(console, "web", "read x; seq 100000; echo done; read x")
    with watching(shared, vm) as stuck, watching(shared, vm, tcp=True) as other, watching(shared, vm) as quick:
        quick.type("go\n")
        quick.sees("\r\n100000\r\ndone\r\n")
        other.sees("\r\n100000\r\ndone\r\n")
        stuck.sees("\r\n100000\r\ndone\r\n")
        assert re.search(r"\r\n\[minibus: \d+ bytes skipped\]\r\n", stuck.seen)


def test_an_address_of_ones_choice(base_dir: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIBUS_CONSOLE_ADDRESS", raising=False)
    product = Product(base_dir, rootfs)
    for address, sentence in (
        ("192.0.2.1", "the console address 192.0.2.1 cannot be used: Cannot assign requested address"),
        ("here", "the console address here is neither an IP address nor `none`"),
    ):
        done = product.minibus("up", "--detach", "--console-address", address)
        assert done.sentence() == f"minibus: {sentence}"
    try:
        assert product.minibus("up", "--detach", "--console-address", "127.0.0.2") == Done(0, "", "")
        with product.configured() as console:
            vm = launched(console, "web")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(vm["console_port"])))
            with socket.create_connection(("127.0.0.2", int(vm["console_port"]))) as sock:
                Viewer(sock).sees("web is up")
        product.down()
        assert product.minibus("up", "--detach", "--console-address", "none") == Done(0, "", "")
        with product.console() as console:
            until(lambda: console.vm("web")["console_port"] == "0", "the port to be gone")
            with watching(product, console.vm("web")) as viewer:
                viewer.sees("web is up")
            console.ok("vm kill all", "vm flush")
    finally:
        product.end()


# --- minibus console


def test_a_script_types_and_leaves(shared: Product, console: Console) -> None:
    launched(console, "web")
    done = script(shared, "\necho $((6*7))\n", "web")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("web is up; press Enter for a shell\n")
    assert "\n42\n" in done.out
    again = script(shared, "echo $((6*8))\n", "--new", "web")
    assert "\n48\n" in again.out
    assert "42" not in again.out
    lines = "".join(f": line {number}\n" for number in range(3000))
    assert script(shared, f"{lines}echo e$((1+0))d\n", "--new", console.vm("web")["id"]).out.count("e1d\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nosuch",), "vm not found: nosuch"),
        (("all",), "a console belongs to one VM: give its name or id instead of all"),
        (("web[1-2]",), "a console belongs to one VM: give its name or id instead of web[1-2]"),
        (("web1", "--namespace", "other"), "vm not found: web1"),
        (("web2",), "web2 does not run (QUIT); `minibus console --read-only` shows what it said"),
        (
            ("web3",),
            "web3 does not run (ERROR: killed container: exit status 7); "
            "`minibus console --read-only` shows what it said",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_there_is_no_console(shared: Product, console: Console, arguments: tuple[str, ...], sentence: str) -> None:
    console.ok("vm launch container web[1-2]", "vm kill web2")
    console.ok(shell_init("exit 7"), "vm launch container web3", "vm start web3")
    until(lambda: console.states()["web3"] == "ERROR", "its end")
    done = script(shared, "x", *arguments)
    assert done.sentence() == f"minibus: {sentence}"
    assert done.status == 1


def test_without_minibus(base_dir: Path, rootfs: Path) -> None:
    done = script(Product(base_dir, rootfs), "", "web")
    assert f"minibus is not running on {base_dir}" in done.sentence()


@contextlib.asynccontextmanager
async def at_terminal(product: Product, *arguments: str) -> AsyncIterator[Terminal]:
    """`minibus console` on a terminal of its own."""
    argv = [str(MINIBUS), "console", "--base", str(product.base), *arguments]
    async with on_terminal(argv, os.environ, "/") as terminal:
        yield terminal


def settings(terminal: Terminal) -> list[object]:
    """Of the terminal, as stty shows them."""
    return list(termios.tcgetattr(terminal.master))


async def pressed(terminal: Terminal, keys: str, wanted: str) -> str:
    """Press keys until they have had their effect: a shell shows a line before it lets go of its terminal."""
    for _ in range(40):
        terminal.type(keys)
        try:
            async with asyncio.timeout(0.5):
                while wanted not in terminal.text:
                    terminal.text += await terminal.shown()
        except TimeoutError:
            continue
        break
    return await terminal.sees(wanted)


async def test_at_a_terminal(shared: Product, console: Console) -> None:
    launched(console, "web")
    async with at_terminal(shared, "web") as terminal, at_terminal(shared, "web", "--read-only") as other:
        before = settings(terminal)
        await terminal.sees("the console of web; Ctrl-] leaves")
        await other.sees("watching the console of web; Ctrl-] leaves")
        await terminal.sees("press Enter for a shell")
        terminal.type("\r")
        await terminal.sees("/ # ")
        other.type("this goes nowhere\r")
        terminal.type("stty size\r")
        for each in (terminal, other):
            await each.sees(f"\n{ROWS} {COLUMNS}\n")
        terminal.type("sleep 1000\r")
        await terminal.sees("sleep 1000\n")
        assert "^C" in await pressed(terminal, "\x03", "/ # ")
        termios.tcsetwinsize(terminal.master, (40, 100))
        terminal.process.send_signal(signal.SIGWINCH)
        await pressed(terminal, "stty size\r", "\n40 100\n")
        assert settings(terminal) != before
        terminal.type(CTRL_RIGHT_BRACKET)
        assert await terminal.ends() == 0
        assert settings(terminal) == before
        other.type("\x03")
        assert await other.ends() == 0
        assert "this goes nowhere" not in other.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_the_terminal_is_as_before_whatever_ends_it(
    shared: Product, console: Console, number: signal.Signals
) -> None:
    launched(console, "web")
    async with at_terminal(shared, "web") as terminal:
        before = settings(terminal)
        await terminal.sees("press Enter for a shell")
        terminal.process.send_signal(number)
        assert await terminal.ends() == 128 + number
        assert settings(terminal) == before


async def test_the_end_of_the_container_is_the_end(shared: Product, console: Console) -> None:
    launched(console, "web")
    async with at_terminal(shared, "web") as terminal:
        before = settings(terminal)
        await terminal.sees("press Enter for a shell")
        console.ok("vm kill web")
        assert await terminal.ends() == 0
        assert "minibus: web has ended\n" in terminal.text
        assert settings(terminal) == before


async def test_what_earlier_output_asked_the_terminal_is_not_asked_again(shared: Product, console: Console) -> None:
    """The shell asks where the cursor is with each prompt."""
    launched(console, "web")
    with watching(shared, console.vm("web")) as viewer:
        viewer.type("\n")
        viewer.sees("/ # \x1b[6n")
    async with at_terminal(shared, "web") as terminal:
        assert "\x1b[6n" not in await terminal.sees("/ # ")
        terminal.type("\r")
        await terminal.sees("/ # \x1b[6n")
        terminal.type(CTRL_RIGHT_BRACKET)
        assert await terminal.ends() == 0


# --- crashes


@pytest.fixture
def own(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """A minibus for one test that does it harm."""
    with product_on(base_dir, rootfs) as product:
        yield product


@contextlib.contextmanager
def follower(product: Product, name: str) -> Iterator[Path]:
    """`minibus console --read-only` into a file."""
    path = product.base / "followed"
    with path.open("wb") as file:
        process = begin(product, "--read-only", name, stdin=subprocess.DEVNULL, stdout=file.fileno())
    try:
        yield path
    finally:
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (143, "")


def test_a_viewer_loses_and_repeats_nothing_whatever_dies(own: Product) -> None:
    with own.configured() as console:
        vm = launched(console, "web", f"read x; {COUNT}")
        with watching(own, vm) as viewer, follower(own, "web") as path:
            viewer.type("go\n")
            until(lambda: len(path.read_text().splitlines()) > 5, "the follower")
            for process in ("container", "broker", "container"):
                old = own.kill(process)
                own.replaced(process, old)
                seen = own.base.joinpath("followed").stat().st_size
                until(lambda seen=seen: path.stat().st_size > seen + 100, "it to go on")  # type: ignore[misc]
            viewer.is_let_go()
            with watching(own, vm, tcp=True) as again:
                again.sees("tick 1\r\n")
            own.kill("node")
            own.up()
            seen = path.stat().st_size
            until(lambda: path.stat().st_size > seen + 100, "it to go on")
            lines = path.read_bytes().decode().split("\r\n")
            assert lines[0] == "go"
            numbers = [int(line.split()[1]) for line in lines[1:-1]]
            assert numbers == list(range(1, len(numbers) + 1))
    with own.console() as console, watching(own, vm) as viewer:
        assert console.vm("web")["console_port"] == vm["console_port"]
        viewer.sees("tick 1\r\n")
        viewer.sees(f"tick {len(numbers)}\r\n")


async def test_a_session_goes_on_after_a_crash(own: Product) -> None:
    with own.configured() as console:
        launched(console, "web")
        async with at_terminal(own, "web") as terminal:
            await terminal.sees("press Enter for a shell")
            terminal.type("\r")
            await terminal.sees("/ # ")
            for number in range(2):
                old = own.kill("container")
                terminal.type(f"echo n$(({number}+10))n\r")
                await terminal.sees(f"n{number + 10}n\n")
                own.replaced("container", old)
            terminal.type(CTRL_RIGHT_BRACKET)
            assert await terminal.ends() == 0


def test_a_console_that_nobody_could_hold_is_said_to_be_lost(own: Product) -> None:
    with own.configured() as console:
        launched(console, "web", "trap : HUP; while :; do sleep 1; done >/dev/null 2>&1 </dev/null")
    pids = [own.pid(name) for name in own.ps()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    until(lambda: not any(map(psutil.pid_exists, pids)), "everything to end")
    own.up()
    with own.console() as console:
        until(lambda: console.vm("web")["console_port"] == "0", "the loss to be noticed")
        assert console.states() == {"web": "RUNNING"}
        said = script(own, "", "web").sentence()
        assert said.startswith("minibus: the console is lost: nobody held its other end")
        assert "console_lost" in own.log_end()
        console.ok("vm kill web", "vm start web")
        assert console.vm("web")["console_port"] != "0"
        assert script(own, "", "web") == Done(0, "", "")


def test_without_descriptors_a_container_runs_and_gets_its_console_later(own: Product) -> None:
    with own.configured() as console:
        launched(console, "first")
        pid = own.pid("container")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for room in (0, 1, 2, 3):
            highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + room, before[1]))
            console.ok(f"vm launch container short{room}", f"vm start short{room}")
        assert set(console.states().values()) == {"RUNNING"}
        assert "0" in {row["console_port"] for row in console.rows()}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        until(lambda: "0" not in {row["console_port"] for row in console.rows()}, "every console to have its port")
        for row in console.rows():
            with watching(own, row, tcp=True) as viewer:
                viewer.type("\n")
                viewer.sees("/ # ")
        assert own.ps()["container"]["restarts"] == 0


def test_the_terminal_survives_the_warden_and_later_all_others(own: Product) -> None:
    """Whoever is left has it, and gives it to those who come back."""
    with own.configured() as console:
        vm = launched(console, "web")
        with watching(own, vm) as viewer:
            viewer.type("\n")
            viewer.sees("/ # ")
        old = own.kill("warden")
        own.replaced("warden", old)
        until(lambda: "/dev/ptmx" in opened(own.pid("warden")), "its copy of the terminal")
        for _ in range(2):
            pids = [own.pid(name) for name in own.ps() if name != "warden"]
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    os.kill(pid, number)
            until(lambda pids=pids: not any(map(psutil.pid_exists, pids)), "all but the warden to end")  # type: ignore[misc]
            own.up()
    with own.console() as console:
        after = console.vm("web")
        assert after | {"uptime": ""} == vm | {"uptime": ""}
        with watching(own, after) as viewer:
            viewer.type("echo a$((1+1))b\n")
            viewer.sees("a2b\r\n")


# --- guests that mean ill


def test_guests_that_talk_without_end_slow_nobody_down(own: Product) -> None:
    with own.configured() as console:
        console.ok(shell_init(FLOOD), "vm launch container loud[1-5]", "vm start all")
        quiet = launched(console, "quiet")
        with contextlib.ExitStack() as stack:
            loud = [stack.enter_context(watching(own, row)) for row in console.rows() if row["name"] != "quiet"]
            actor = psutil.Process(own.pid("container"))
            time.sleep(1.0)
            memory, began, spent = actor.memory_info().rss, time.monotonic(), sum(actor.cpu_times()[:2])
            took = []
            for _ in range(60):
                start = time.monotonic()
                console.ok("vm info")
                took.append(time.monotonic() - start)
                for viewer in loud[:2]:
                    viewer.look()
            with watching(own, quiet) as viewer:
                viewer.type("\n")
                viewer.sees("/ # ")
            share = (sum(actor.cpu_times()[:2]) - spent) / (time.monotonic() - began)
        assert sorted(took)[-2] < 1.0, sorted(took)[-5:]
        assert share < 0.7, "consoles may take a quarter of the actor's time"
        assert actor.memory_info().rss < memory + 8 * 1024 * 1024
        assert all(len(viewer.seen) > 10_000 for viewer in loud[:2])
