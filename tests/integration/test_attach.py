"""`minibus attach` on a terminal and off it, against a real command socket; only the bus behind it is a stand-in."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.messages.base import Ack, Message
from bus.messages.control import StopNode
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import DestroyNamespace, DestroyReport, GetNamespaces, NamespaceList, OpenNamespace
from bus.messages.network import Bridges, GetBridges
from bus.messages.vlan import GetVlans, VlanTable
from bus.messages.vm import GetVmNames, GetVms, VmNames
from tests.integration.terminal import Terminal, on_terminal
from tests.unit.cli.stand_ins import Asked, make_vms, serving

ROOT = Path(__file__).parents[2]
NAMESPACES: dict[type[Message], Any] = {
    GetNamespaces: NamespaceList(namespaces=()),
    GetVlans: VlanTable(),
    KillDnsmasqs: Ack(),
    GetBridges: Bridges(),
    OpenNamespace: Ack(),
    DestroyNamespace: DestroyReport(),
    StopNode: Ack(),
}
CTRL_C, CTRL_D, TAB, UP = "\x03", "\x04", "\t", "\x1b[A"


def program(name: str, *arguments: str) -> list[str]:
    code = f"import sys; sys.argv[0] = {name!r}; from cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments]


@asynccontextmanager
async def attached(base: Path, *arguments: str, **variables: str) -> AsyncIterator[Terminal]:
    env = {**os.environ, "MINIBUS_BASE": str(base), "TERM": "dumb", **variables}
    async with on_terminal(program("minibus", "attach", *arguments), env, str(ROOT)) as terminal:
        yield terminal


async def piped(base: Path, text: bytes, *arguments: str, name: str = "minibus") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *program(name, *arguments),
        cwd=ROOT,
        env={**os.environ, "MINIBUS_BASE": str(base)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_conversation(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        assert "`quit` ends it for everybody" in await terminal.sees("minibus[minimega]$ ")
        terminal.type("echo 'a  b'\n")
        await terminal.sees("n1: a  b\n")
        await terminal.sees("minibus[minimega]$ ")
        terminal.type("vm infos\n")
        await terminal.sees("Error (n1): invalid command: `vm infos`")
        await terminal.sees("minibus[minimega]$ ")
        terminal.type(UP + UP + "\n")
        await terminal.sees("n1: a  b\n")
        terminal.type("disconnect\n")
        assert await terminal.ends() == 1, "a command had failed"


async def test_the_end_of_input_leaves(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type(CTRL_D)
        assert await terminal.ends() == 0
        assert StopNode not in {type(asked.request) for asked in server.bus.asked}


async def test_the_prompt_names_the_namespace(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base, "--namespace", "exp") as terminal:
        await terminal.sees("minibus[exp]$ ")
        terminal.type("vm info\n")
        await terminal.sees("minibus[exp]$ ")
        assert {asked.namespace for asked in server.bus.asked if type(asked.request) is GetVms} == {"exp"}
        terminal.type("clear namespace\n")
        await terminal.sees("minibus[minimega]$ ")


async def test_a_namespace_that_cannot_be(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base, "--namespace", "a b") as terminal:
        assert await terminal.ends() == 1
        assert "invalid namespace name" in terminal.text
        assert "$ " not in terminal.text


async def test_the_prompt_of_minimega(base_dir: Path) -> None:
    argv = program("/usr/bin/minimega", "-attach", "-base", str(base_dir))
    async with serving(base_dir, NAMESPACES), on_terminal(argv, {**os.environ, "TERM": "dumb"}, str(ROOT)) as terminal:
        await terminal.sees(f"minimega:{base_dir}/minimega$ ")
        terminal.type("nonsense\n")
        await terminal.sees("Error (n1): ")
        await terminal.sees("$ ")
        terminal.type(CTRL_D)
        assert await terminal.ends() == 0


async def test_tab_completes(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type("hist" + TAB)
        await terminal.sees("history ")
        terminal.type("\n")
        await terminal.sees("$ ")
        terminal.type(".co" + TAB + TAB)
        shown = await terminal.sees(".compress")
        shown += await terminal.sees(".co")
        assert ".columns" in shown
        terminal.type(CTRL_C)
        await terminal.sees("$ ")
        terminal.type("nonsense " + TAB + TAB + "x\n")
        await terminal.sees("invalid command: `nonsense x`")


async def test_ctrl_c_drops_the_line(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type("echo dropped")
        await terminal.sees("dropped")
        terminal.type(CTRL_C)
        await terminal.sees("$ ")
        terminal.type("echo kept\n")
        assert "dropped" not in await terminal.sees("n1: kept\n")


async def test_ctrl_c_while_a_command_runs(base_dir: Path) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(request: Asked) -> Message:
        asked.set()
        await go.wait()
        return make_vms(1)

    def answer(request: Asked) -> Awaitable[Message]:
        return slowly(request)

    async with serving(base_dir, {**NAMESPACES, GetVms: answer}) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type("vm info\n")
        await asked.wait()
        terminal.type(CTRL_C)
        await terminal.sees("the command goes on")
        go.set()
        await terminal.sees("vm-0")
        await terminal.sees("$ ")
        go.clear()
        asked.clear()
        terminal.type("vm info\n")
        await asked.wait()
        terminal.type(CTRL_C)
        await terminal.sees("the command goes on")
        terminal.type(CTRL_C)
        assert await terminal.ends() == 130
        go.set()


async def test_a_completion_that_hangs(base_dir: Path) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(request: Asked) -> Message:
        asked.set()
        await go.wait()
        return VmNames(uuids={"late": "1"})

    def answer(request: Asked) -> Awaitable[Message]:
        return slowly(request)

    async with serving(base_dir, {**NAMESPACES, GetVmNames: answer}) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type("vm kill " + TAB)
        await asked.wait()
        terminal.type(CTRL_C + "\x15echo in order\n")
        await terminal.sees("echo in order\n")
        go.set()
        await terminal.sees("n1: in order\n")
        terminal.type("echo once more\n")
        await terminal.sees("n1: once more\n")


async def test_quit_has_to_be_typed_twice_in_a_row(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        for line in ("quit", "echo x", "quit"):
            terminal.type(f"{line}\n")
            await terminal.sees("$ ")
        assert StopNode not in {type(asked.request) for asked in server.bus.asked}
        terminal.type("quit\n")
        assert await terminal.ends() == 0
        assert type(server.bus.asked[-1].request) is StopNode


async def test_quit_with_more_words_needs_no_second(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server, attached(server.base) as terminal:
        await terminal.sees("$ ")
        terminal.type("quit soon\n")
        await terminal.sees("invalid delay `soon`")


async def test_the_server_goes_away(base_dir: Path) -> None:
    async with attached_to_server_that_ends(base_dir) as terminal:
        terminal.type("version\n")
        assert await terminal.ends() == 1
        assert "minibus: the server has closed the connection" in terminal.text


@asynccontextmanager
async def attached_to_server_that_ends(base: Path) -> AsyncIterator[Terminal]:
    async with asyncio.timeout(60):
        server = serving(base, NAMESPACES)
        await server.__aenter__()
        try:
            terminal_context = attached(base)
            terminal = await terminal_context.__aenter__()
            await terminal.sees("$ ")
        finally:
            await server.__aexit__(None, None, None)
        try:
            yield terminal
        finally:
            await terminal_context.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("pager", "announced"), [("sed s/^/paged:/", True), ("cat", True), ("/nonexistent/pager -x", False)]
)
async def test_long_answers_go_to_the_pager(base_dir: Path, pager: str, announced: bool) -> None:
    reactions: dict[type[Message], Any] = {**NAMESPACES, GetVms: make_vms(60)}
    async with serving(base_dir, reactions) as server, attached(server.base, PAGER=pager) as terminal:
        await terminal.sees("$ ")
        terminal.type(".columns name vm info\n")
        shown = await terminal.sees("vm-59\n")
        assert ("-- sending 61 lines to $PAGER --\n" in shown) is announced
        assert ("paged:" in shown) is pager.startswith("sed")
        terminal.type("echo short\n")
        assert "sending" not in await terminal.sees("n1: short\n")


async def test_without_a_terminal(base_dir: Path) -> None:
    async with serving(base_dir, NAMESPACES) as server:
        assert await piped(server.base, b"", "attach") == (0, "", "")
        assert await piped(server.base, b"echo a\n\n# nothing\necho b", "attach") == (0, "n1: a\nn1: b\n", "")
        status, out, err = await piped(server.base, b"bad\necho \xff\n", "attach")
        assert (status, out) == (1, "n1: \ufffd\n") and err.startswith("Error (n1): invalid command: `bad`")
        assert (await piped(server.base, b"bad\n", "-attach", "-base", str(base_dir), name="minimega"))[0] == 0
        assert await piped(server.base, b"disconnect\necho a\n", "attach") == (0, "", "")
        status, out, err = await piped(server.base, b"quit\n", "attach")
        assert (status, out) == (0, "") and "once more if you mean it" in err
        assert StopNode not in {type(asked.request) for asked in server.bus.asked}
        assert (await piped(server.base, b"quit\nquit\necho a\n", "attach"))[:2] == (0, "")
        assert type(server.bus.asked[-1].request) is StopNode


async def test_nobody_to_attach_to(base_dir: Path) -> None:
    sentence = f"minibus: minibus is not running on {base_dir}: start it with `minibus up --base {base_dir}`\n"
    assert await piped(base_dir, b"echo a\n", "attach") == (1, "", sentence)
