"""The command socket, with real sockets and clients; only the bus behind it is a stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.messages.base import Ack, Message
from bus.messages.control import StopNode
from bus.messages.namespace import Draft, GetDraft, GetNamespaces, NamespaceList
from bus.messages.vm import FlushVms, GetVms, GuestKind, KillVms, VmConfig, VmInfo, VmList, VmReport, VmState
from cli.commands.registry import COMMANDS
from cli.server.actor import BACKLOG
from cli.server.connection import MAX_UNSENT, Connection
from cli.server.engine import Engine
from cli.testing import Asked, FakeBus

ROOT = Path(__file__).parents[2]


def guests(count: int) -> VmList:
    return VmList(
        vms=tuple(
            VmInfo(
                vm_id=number,
                name=f"vm-{number}",
                namespace="minimega",
                host="n1",
                kind=GuestKind.CONTAINER,
                state=VmState.RUNNING,
                uuid=str(number),
                created_s=0.0,
                config=VmConfig(),
            )
            for number in range(count)
        )
    )


class Client:
    """A client that speaks the protocol byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *values: Any, end: bytes = b"") -> None:
        self.writer.write(b"".join(json.dumps(value).encode() + end for value in values))
        await self.writer.drain()

    async def receive(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(await self.reader.readuntil(b"\n"))
        return reply

    async def command(self, line: str) -> dict[str, Any]:
        await self.send({"Command": line, "Suggest": "", "PlumbPipe": ""})
        return await self.receive()

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""


class Server:
    """A command socket in a base directory."""

    def __init__(self, base: Path, bus: FakeBus) -> None:
        self.base = base
        self.bus = bus
        self.path = base / "minimega"
        self.tasks: set[asyncio.Task[None]] = set()
        self.engine = Engine(bus, "n1", COMMANDS, lambda work, name: work.close(), self.bugs_are_failures)

    def bugs_are_failures(self, error: Exception) -> None:
        raise error

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(Connection(self.engine, reader, writer).serve())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=64 * 1024 * 1024)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def minibus(self, *arguments: str, program: str = "minibus") -> tuple[int, str, str]:
        code = f"import sys; sys.argv[0] = {program!r}; from cli.main import main; sys.exit(main())"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MINIBUS_BASE": str(self.base)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, *arguments),
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


@asynccontextmanager
async def serving(base: Path, reactions: dict[type[Message], Any] | None = None) -> AsyncIterator[Server]:
    known: dict[type[Message], Any] = {GetVms: guests(2), GetDraft: Draft(config=VmConfig())}
    server = Server(base, FakeBus({**known, **(reactions or {})}))
    listener = await asyncio.start_unix_server(server.accept, server.path, backlog=BACKLOG)
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
        for task in tuple(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


async def test_one_reply_a_line(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        assert await client.command("echo hey") == {
            "Resp": [{"Host": "n1", "Response": "hey", "Header": None, "Tabular": None, "Error": "", "Data": None}],
            "Rendered": "n1: hey",
            "More": False,
        }


@pytest.mark.parametrize("line", ["# comment", "  "])
async def test_nothing_to_say_is_an_empty_list_never_null(base_dir: Path, line: str) -> None:
    async with serving(base_dir) as server, server.client() as client:
        assert await client.command(line) == {"Resp": [], "Rendered": "", "More": False}


@pytest.mark.parametrize("request_", [{}, None, {"Command": "", "Suggest": ""}, {"Command": "a", "Suggest": "b"}])
async def test_a_request_for_nothing(base_dir: Path, request_: Any) -> None:
    async with serving(base_dir) as server, server.client() as client:
        await client.send(request_)
        reply = await client.receive()
        assert reply["Resp"][0]["Error"] == "must specify either command or suggest"
        assert (await client.command("echo x"))["Rendered"] == "n1: x"


async def test_suggestions_stand_under_both_names(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        await client.send({"Suggest": "vm i"})
        reply = await client.receive()
        assert reply["Suggest"] == reply["omitempty"] == ["vm info "]
        assert reply["Resp"] == []


async def test_the_last_group_is_the_one_without_more(base_dir: Path) -> None:
    script = base_dir / "script"
    script.write_text("echo a\n# b\necho c\n")
    async with serving(base_dir) as server, server.client() as client:
        await client.send({"Command": f"read {script}"})
        replies = [await client.receive(), await client.receive()]
        assert [(reply["Rendered"], reply["More"]) for reply in replies] == [("n1: a", True), ("n1: c", False)]


async def test_pipelined_requests_are_answered_in_order(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        await client.send(*({"Command": f"echo {number}"} for number in range(200)))
        assert [(await client.receive())["Rendered"] for _ in range(200)] == [f"n1: {n}" for n in range(200)]


async def test_settings_stay_with_their_connection(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as one, server.client() as other:
        assert (await one.command(".json true"))["Rendered"].startswith('[{"Host"')
        await one.command("namespace exp")
        await one.command("vm info")
        assert (await other.command("echo x"))["Rendered"] == "n1: x"
        await other.command("vm info")
        assert [asked.namespace for asked in server.bus.asked] == ["exp", "minimega"]
        assert (await other.command("history"))["Resp"][0]["Response"] == "echo x\nvm info"


@pytest.mark.parametrize("bytes_", [b"5", b'{"Command":5}', b"{]", b'{"a":' + b"[" * 100, b"\xff"])
async def test_what_is_no_request_closes_the_connection_and_no_other(base_dir: Path, bytes_: bytes) -> None:
    async with serving(base_dir) as server, server.client() as client, server.client() as other:
        client.writer.write(bytes_)
        assert await client.is_closed()
        assert (await other.command("echo x"))["Rendered"] == "n1: x"


async def test_a_request_that_never_ends_is_cut_off(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        client.writer.write(b'{"Command":"')
        with pytest.raises(ConnectionError):
            for _ in range(100):
                client.writer.write(b"x" * 1_048_576)
                await client.writer.drain()


async def test_a_client_that_leaves_early_loses_only_its_answer(base_dir: Path) -> None:
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked) -> Message:
        arrived.set()
        await leave.wait()
        return guests(1)

    script = base_dir / "script"
    script.write_text("vm info\nvm config\n")
    async with serving(base_dir, {GetVms: slow}) as server:
        async with server.client() as client:
            await client.send({"Command": f"read {script}"})
            await arrived.wait()
        leave.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*server.tasks)
        assert [type(asked.request) for asked in server.bus.asked] == [GetVms, GetDraft]  # it went on to its end


async def test_a_client_may_close_its_sending_side(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        await client.send({"Command": "echo x"})
        client.writer.write_eof()
        assert (await client.receive())["Rendered"] == "n1: x"
        assert await client.is_closed()


async def test_a_slow_command_holds_up_nobody_else(base_dir: Path) -> None:
    release = asyncio.Event()

    async def slow(asked: Asked) -> Message:
        await release.wait()
        return guests(1)

    async with serving(base_dir, {GetVms: slow}) as server, server.client() as one, server.client() as other:
        await one.send({"Command": "vm info"})
        assert (await other.command("echo x"))["Rendered"] == "n1: x"
        release.set()
        assert len((await one.receive())["Resp"][0]["Tabular"]) == 1


async def test_a_slow_reader_makes_only_its_own_command_wait(base_dir: Path) -> None:
    script = base_dir / "script"
    script.write_text(f"echo {'x' * 100_000}\n" * 200)
    async with serving(base_dir) as server, server.client() as lazy, server.client() as other:
        await lazy.send({"Command": f"read {script}"})
        unsent = 0
        for _ in range(50):  # it stops running once the buffers are full
            assert (await other.command("echo y"))["Rendered"] == "n1: y"
            unsent = max(unsent, sum(_buffered(task) for task in server.tasks))
        assert unsent < 2 * MAX_UNSENT + 400_000
        replies = 0
        while (await lazy.receive())["More"]:
            replies += 1
        assert replies == 199


def _buffered(task: asyncio.Task[None]) -> int:
    frame = task.get_coro().cr_frame  # type: ignore[union-attr]
    connection = frame.f_locals["self"] if frame else None
    return connection._writer.transport.get_write_buffer_size() if isinstance(connection, Connection) else 0


async def test_hundreds_of_clients_at_once(base_dir: Path) -> None:
    async def one(number: int) -> None:
        async with server.client() as client:
            await client.command(f"namespace exp-{number}")
            await client.command("vm info")
            assert (await client.command(f"echo {number}"))["Rendered"] == f"n1: {number}"

    async with serving(base_dir) as server:
        await asyncio.gather(*(one(number) for number in range(300)))
        assert sorted(asked.namespace for asked in server.bus.asked) == sorted(f"exp-{n}" for n in range(300))


async def test_quit_closes_without_a_reply(base_dir: Path) -> None:
    guests_end: dict[type[Message], Any] = {KillVms: VmReport(), FlushVms: VmReport()}
    reactions: dict[type[Message], Any] = {GetNamespaces: NamespaceList(namespaces=()), StopNode: Ack(), **guests_end}
    async with serving(base_dir, reactions) as server, server.client() as client:
        await client.send({"Command": "quit"})
        assert await client.is_closed()
        assert type(server.bus.asked[-1].request) is StopNode
        assert await server.minibus("exec", "quit") == (0, "", "")


async def test_quit_that_cannot_end_the_guests_stops_nothing(base_dir: Path) -> None:
    reactions: dict[type[Message], Any] = {GetNamespaces: NamespaceList(namespaces=()), StopNode: Ack()}
    async with serving(base_dir, reactions) as server, server.client() as client:
        assert "nobody here knows KillVms" in (await client.command("quit"))["Resp"][0]["Error"]
        assert StopNode not in {type(asked.request) for asked in server.bus.asked}


async def test_pipes_are_refused_in_words(base_dir: Path) -> None:
    async with serving(base_dir) as server, server.client() as client:
        await client.send({"PlumbPipe": "foo"})
        assert (await client.receive())["Resp"][0]["Error"]
        assert await client.is_closed()


# ---------------------------------------------------------------- the executable


async def test_exec(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        assert await server.minibus("exec", "echo 'a  b'") == (0, "n1: a  b\n", "")
        assert await server.minibus("exec", "echo", "--json") == (0, "n1: --json\n", "")
        assert await server.minibus("exec", "echo", "a  b", "#c", '"') == (0, 'n1: a  b #c "\n', "")
        assert await server.minibus("-e", "echo", "a  b") == (0, "n1: a  b\n", "")
        assert await server.minibus("--base", str(base_dir), "exec", "--", "echo", "x") == (0, "n1: x\n", "")
        assert await server.minibus("-e") == (0, "", "")


async def test_exec_says_what_failed(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        sentence = "invalid command: `vm infos`: did you mean `vm info [summary,]`?"
        assert await server.minibus("exec", "vm infos") == (1, "", f"Error (n1): {sentence}\n")
        assert await server.minibus("-e", "vm infos") == (1, "", f"Error (n1): {sentence}\n")
        old = await server.minibus("-base", str(base_dir), "-e", "vm infos", program="/usr/bin/minimega")
        assert old == (0, "", f"Error (n1): {sentence}\n")


async def test_exec_json(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        answers = [
            await server.minibus("exec", "--json", ".columns", "name", "vm", "info"),
            await server.minibus("exec", ".columns name vm info", "--json"),
        ]
        for status, out, err in answers:
            (response,) = json.loads(out)
            assert (status, err, response["Header"], response["Tabular"]) == (0, "", ["name"], [["vm-0"], ["vm-1"]])


async def test_exec_in_a_namespace(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        await server.minibus("exec", "--namespace", "exp", "vm info")
        assert server.bus.asked[-1].namespace == "exp"


async def test_read(base_dir: Path) -> None:
    script = base_dir / "my script"
    script.write_text("echo a\nbad\n")
    async with serving(base_dir) as server:
        expected = (1, "n1: a\n", f"Error (n1): {script}:2: invalid command: `bad`\n")
        assert await server.minibus("read", str(script)) == expected
        assert await server.minibus("read", "--check", str(script)) == (1, "", expected[2])
        assert await server.minibus("read", str(script), "--check") == (1, "", expected[2])


async def test_nobody_there(base_dir: Path) -> None:
    server = Server(base_dir, FakeBus())
    sentence = f"minibus: minibus is not running on {base_dir}: start it with `minibus up --base {base_dir}`\n"
    assert await server.minibus("exec", "version") == (1, "", sentence)
    assert await server.minibus("-e", "version", program="minimega") != (0, "", "")
    assert (await server.minibus("exec", "--base", "/" + "x" * 200, "version"))[0] == 1


async def test_a_reader_that_leaves_ends_it_quietly(base_dir: Path) -> None:
    async with serving(base_dir, {GetVms: guests(2000)}) as server:
        code = "import sys; from cli.main import main; sys.exit(main())"
        command = f"'{sys.executable}' -c '{code}' exec vm info | head -n 1"
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command),
            cwd=ROOT,
            env={**os.environ, "MINIBUS_BASE": str(server.base)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert out.startswith(b"host | id") and out.count(b"\n") == 1
        assert err == b""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("frobnicate",), "there is no subcommand frobnicate"),
        (("exec",), "exec needs a command"),
        (("exec", "--jsn", "x"), "unknown option --jsn"),
        (("ps", "x"), "ps does not take `x`"),
        (("--base",), "--base needs a value"),
        (("read",), "read needs one file"),
        (("up", "--namespace", "x"), "up takes no --namespace"),
        (("help", "x"), "there is no subcommand x"),
    ],
)
async def test_wrong_arguments(base_dir: Path, arguments: tuple[str, ...], sentence: str) -> None:
    expected = (2, "", f"minibus: {sentence}; see `minibus --help`\n")
    assert await Server(base_dir, FakeBus()).minibus(*arguments) == expected


@pytest.mark.parametrize(
    "words", [("--help",), ("-h",), (), ("help",), ("exec", "--help"), ("help", "tap"), ("up", "-h")]
)
async def test_help(base_dir: Path, words: tuple[str, ...]) -> None:
    status, out, err = await Server(base_dir, FakeBus()).minibus(*words)
    assert (status, err) == (0, "")
    assert "usage: minibus" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [("version",), ("-version",), ("--version",)])
async def test_version_needs_no_server(base_dir: Path, words: tuple[str, ...]) -> None:
    status, out, err = await Server(base_dir, FakeBus()).minibus(*words)
    assert (status, err) == (0, "") and out.startswith("minibus ")
