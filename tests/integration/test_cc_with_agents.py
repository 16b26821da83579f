"""The agent and its server together, with crashes of either while they work."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.cc import CommandKind, CommandSpec, CommandState, GetClients, GetGuestProcesses, Listen
from bus.messages.pipe import DeletePipes, GetPipes
from bus.messages.tunnel import OpenTunnel
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import until

ROOT = Path(__file__).parents[2]
GUESTS = 4


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    """A host with a plumber; its file area is there."""
    async with cc_host(base_dir, "plumber") as host:
        host.files.mkdir(exist_ok=True)
        yield host


class Agents:
    """Agents of VMs 1, 2, ...; each with a directory of its own."""

    def __init__(self, host: CcHost) -> None:
        self.host = host
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def path(self, vm_id: int) -> Path:
        """Where the agent of this VM keeps its files."""
        return self.host.base / f"agent{vm_id}"

    def start(self, vm_id: int, *where: str) -> None:
        """One agent."""
        if vm_id not in self.host.vms:
            self.host.launch(vm_id)
        line = where or ("-family", "unix", "-parent", str(self.host.base / str(vm_id) / "cc" / "cc"))
        command = [sys.executable, "-m", "shims.agent", "-uuid", uuid_of(vm_id), "-path", str(self.path(vm_id))]
        with (self.host.base / f"agent{vm_id}.log").open("ab") as log:
            self.processes[vm_id] = subprocess.Popen([*command, *where, *line], cwd=ROOT, stderr=log)

    def kill(self, vm_id: int) -> None:
        """SIGKILL."""
        process = self.processes.pop(vm_id)
        process.kill()
        process.wait()

    def end(self) -> None:
        """End all, and look at what they said."""
        for process in self.processes.values():
            process.terminate()
        for vm_id, process in self.processes.items():
            assert process.wait(30) == 0
            log = (self.host.base / f"agent{vm_id}.log").read_text()
            assert "should not happen" not in log and "not understood" not in log, log


@contextmanager
def agents_of(host: CcHost, count: int = GUESTS) -> Iterator[Agents]:
    """So many agents, which are ended."""
    agents = Agents(host)
    try:
        for vm_id in range(1, count + 1):
            agents.start(vm_id)
        yield agents
    finally:
        agents.end()


async def test_programs(host: CcHost) -> None:
    with agents_of(host):
        await host.connected(GUESTS)
        for client in (await host.ask(GetClients())).clients:
            assert client.os == "linux" and client.hostname == os.uname().nodename
        number = await host.run("sh", "-c", "echo out; echo err >&2; exit 3")
        rows = await host.outcomes(number)
        assert {(row.state, row.code, row.stdout, row.stderr) for row in rows.values()} == {
            (CommandState.EXITED, 3, 4, 4)
        }
        assert host.response(number, 2, "stderr").read_bytes() == b"err\n"
        missing = await host.outcomes(await host.run("no-such-program"))
        assert "command not found" in missing["vm1"].error
        late = await host.outcomes(await host.run("sleep", "100", timeout_s=0.3))
        assert late["vm1"].state is CommandState.TIMEOUT
        big = await host.run("sh", "-c", "yes | head -c 3000000")
        assert (await host.outcomes(big))["vm3"].stdout == 3_000_000
        assert host.response(big, 3).read_bytes() == b"y\n" * 1_500_000
        await host.run("sleep", "100", background=True)

        async def run_in_background() -> bool:
            return len((await host.ask(GetGuestProcesses(target="all"))).processes) == GUESTS

        await until(run_in_background, 30)
        await host.outcomes((await host.post(CommandSpec(kind=CommandKind.KILL, pid=-1))).id)


async def test_files(host: CcHost) -> None:
    names = {"plain": 3, "with space": 70_000, "with\nnewline": 0, "deep/er/file": 2_000_000}
    contents = {name: os.urandom(size) for name, size in names.items()}
    for name, content in contents.items():
        (host.files / name).parent.mkdir(parents=True, exist_ok=True)
        (host.files / name).write_bytes(content)
    with agents_of(host) as agents:
        await host.connected(GUESTS)
        sent = await host.post(CommandSpec(kind=CommandKind.SEND, files=("plain", "with*", "deep")))
        rows = await host.outcomes(sent.id)
        assert {(row.state, row.error) for row in rows.values()} == {(CommandState.EXITED, "")}
        for vm_id in range(1, GUESTS + 1):
            for name, content in contents.items():
                assert (agents.path(vm_id) / "files" / name).read_bytes() == content
        # Each guest is asked for files of its own path, so one of four has them and the others have none.
        where = agents.path(2) / "files"
        wanted = CommandSpec(kind=CommandKind.RECEIVE, files=(str(where / "with*"), str(where / "deep"), "/no/such"))
        got = await host.post(wanted)
        row = (await host.outcomes(got.id))["vm2"]
        assert (row.state, row.files) == (CommandState.FAILED, 3)
        assert "/no/such: no such file or directory" in row.error
        for name in ("with space", "with\nnewline", "deep/er/file"):
            assert host.response(got.id, 2, f"{where}/{name}".lstrip("/")).read_bytes() == contents[name]


async def test_pipes_between_guests(host: CcHost) -> None:
    with agents_of(host, 2):
        await host.connected(2)
        async with PipeReader(host.port, "result") as result:
            script = "while read line; do echo $line again; done"
            number = await host.run("sh", "-c", script, stdin="input", stdout="result")

            async def both_read() -> bool:
                pipes = (await host.port.ask("plumber", GetPipes(), timeout_s=30, namespace=DEFAULT_NAMESPACE)).pipes
                return any(pipe.name == "input" and pipe.readers == 2 for pipe in pipes)

            await until(both_read, 30)
            async with PipeWriter(host.port, "input") as writer:
                await writer.write(b"".join(b"line %d\n" % number for number in range(100)))
                await writer.drain()
            lines: list[bytes] = []
            while len(lines) < 200:
                delivery = await result.next()
                assert delivery is not None
                lines += delivery.data.splitlines()
            assert sorted(lines) == sorted([b"line %d again" % number for number in range(100)] * 2)
        # Nobody reads any more, so that nothing holds the programs back.
        request = DeletePipes(pipe="input")
        await host.port.ask("plumber", request, timeout_s=30, namespace=DEFAULT_NAMESPACE)
        rows = await host.outcomes(number)
        assert {row.state for row in rows.values()} == {CommandState.EXITED}


async def test_server_crashes_while_everything_runs(host: CcHost) -> None:
    """Each program leaves a line in its guest: it must have run once, whatever was killed."""
    content = os.urandom(4_000_000)
    (host.files / "big").write_bytes(content)
    chance = random.Random(7)
    with agents_of(host) as agents:
        await host.connected(GUESTS)
        numbers = []
        script = f"echo $0 >>{host.base}/ran; head -c 300000 /dev/zero; sleep 0.1; echo done"
        for round_number in range(3):
            numbers.append(await host.run("sh", "-c", script, str(round_number)))
            sent = (await host.post(CommandSpec(kind=CommandKind.SEND, files=("big",)))).id
            got = (await host.post(CommandSpec(kind=CommandKind.RECEIVE, files=(f"{host.base}/files/big",)))).id
            await asyncio.sleep(chance.random() * 0.7)
            await host.restart()
            await host.outcomes_when(got, GUESTS)
            for number in (sent, got):
                rows = await host.outcomes(number)
                assert {(row.state, row.error) for row in rows.values()} == {(CommandState.EXITED, "")}
        for number in numbers:
            rows = await host.outcomes_when(number, GUESTS)
            assert {(row.state, row.stdout) for row in rows.values()} == {(CommandState.EXITED, 300_005)}
        for vm_id in range(1, GUESTS + 1):
            digest = hashlib.sha256((agents.path(vm_id) / "files" / "big").read_bytes()).digest()
            assert digest == hashlib.sha256(content).digest()
            for number in numbers:
                assert host.response(number, vm_id).read_bytes() == bytes(300_000) + b"done\n"
        ran = (host.base / "ran").read_text().split()
        assert sorted(ran) == sorted(["0", "1", "2"] * GUESTS)


async def test_agent_dies_and_comes_back(host: CcHost) -> None:
    with agents_of(host, 2) as agents:
        await host.connected(2)
        number = await host.run("sh", "-c", f"echo x >>{host.base}/ran; sleep 2; echo end")
        ran = host.base / "ran"

        async def both_run() -> bool:
            return ran.exists() and ran.read_text() == "x\nx\n"

        await until(both_run, 30)
        agents.kill(1)
        agents.start(1)
        await host.connected(2)
        rows = await host.outcomes_when(number, 2)
        assert (rows["vm1"].state, rows["vm2"].state) == (CommandState.UNKNOWN, CommandState.EXITED)
        assert ran.read_text() == "x\nx\n"


async def test_tcp_and_tunnel(host: CcHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await host.ask(Listen(port=port, address="127.0.0.1"))
    host.launch(1)
    agents = Agents(host)
    try:
        agents.start(1, "-parent", "localhost", "-port", str(port))
        await host.connected(1)
        with socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as other:
            source = other.getsockname()[1]
            other.close()
            where = target.getsockname()[1]
            await host.ask(OpenTunnel(target="vm1", source=source, host="localhost", port=where))
            user_reader, user_writer = await asyncio.open_connection("127.0.0.1", source)
            target.setblocking(False)
            loop = asyncio.get_running_loop()
            inside, _ = await asyncio.wait_for(loop.sock_accept(target), 30)
            with inside:
                user_writer.write(b"question")
                user_writer.write_eof()
                assert await asyncio.wait_for(loop.sock_recv(inside, 100), 30) == b"question"
                assert await asyncio.wait_for(loop.sock_recv(inside, 100), 30) == b""
                await loop.sock_sendall(inside, b"answer")
            assert await asyncio.wait_for(user_reader.read(), 30) == b"answer"
            user_writer.close()
            await user_writer.wait_closed()
    finally:
        agents.end()
