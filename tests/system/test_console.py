"""Consoles as their users have them: sockets, ports, `minibus console`, several watchers, hostile and silent guests."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import termios
from pathlib import Path

import psutil
import pytest

from tests.integration.terminal import COLUMNS, ROWS, Terminal, on_terminal
from tests.system.console_viewer import CTRL_RIGHT_BRACKET, Viewer, at_terminal, launched, script, watching
from tests.system.product import (
    MINIBUS,
    Console,
    Done,
    Product,
    shell_init,
    until,
)

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
        ("here", "--console-address: `here` is neither an IP address nor `none`"),
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


async def test_a_terminal_is_asked_nothing_by_a_guest_that_could_not_hear_it(shared: Product, console: Console) -> None:
    """The answer would be typed at the user's own shell."""
    launched(console, "web")
    line = f"printf '\\necho e1d\\n' | {MINIBUS} console --base {shared.base} web"
    async with on_terminal(["/bin/sh", "-c", line], os.environ, "/") as terminal:
        assert await terminal.ends() == 0
    assert "\ne1d\n/ # " in terminal.text.replace("\r", "")
    assert "\x1b[6n" not in terminal.text
