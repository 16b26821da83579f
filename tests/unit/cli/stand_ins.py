"""Stand-ins for tests: a bus that answers as told, an engine on it, a command socket with clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from bus.errors import BusError, UnknownTypeError
from bus.messages.base import DEFAULT_NAMESPACE, Ack, Message, Request
from bus.messages.namespace import Draft, GetDraft, OpenNamespace, SetConfig
from bus.messages.vm import GetVms, GuestKind, VmConfig, VmInfo, VmList, VmState
from cli.answers.response import Group, Response
from cli.commands.registry import COMMANDS
from cli.server.actor import BACKLOG
from cli.server.connection import Connection
from cli.server.engine import Engine
from cli.session.session import Session

R = TypeVar("R", bound=Message)

Reaction = Message | BusError | Callable[["Asked"], Message | BusError | Awaitable[Message]]


class Asked(NamedTuple):
    """A request that came in."""

    to: str
    request: Message
    namespace: str
    msg_id: str


class FakeBus:
    """Answers each type of request as told: with a message, an error, or what a function makes of it."""

    def __init__(self, reactions: dict[type[Message], Reaction] | None = None) -> None:
        self.reactions: dict[type[Message], Reaction] = dict(reactions or {})
        self.asked: list[Asked] = []

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str, msg_id: str = "") -> R:
        """As `bus.port.Port.ask`."""
        asked = Asked(to, request, namespace, msg_id)
        self.asked.append(asked)
        reaction: Any = self.reactions.get(
            type(request), UnknownTypeError(f"nobody here knows {type(request).__name__}")
        )
        if not isinstance(reaction, Message | BusError):
            reaction = reaction(asked)
        if isinstance(reaction, Awaitable):
            reaction = await reaction
        if isinstance(reaction, BusError):
            raise reaction
        return cast(R, reaction)


def make_vm(vm_id: int, name: str, state: VmState = VmState.RUNNING, **more: Any) -> VmInfo:
    """A container on host n1, as its owner would tell of it."""
    return VmInfo(
        vm_id=vm_id,
        name=name,
        namespace=DEFAULT_NAMESPACE,
        host="n1",
        kind=GuestKind.CONTAINER,
        state=state,
        uuid=str(vm_id),
        created_s=0.0,
        config=VmConfig(),
        **more,
    )


def make_vms(count: int) -> VmList:
    """That many containers."""
    return VmList(vms=tuple(make_vm(number, f"vm-{number}") for number in range(count)))


class EngineBench:
    """An engine on a fake bus, and a session."""

    def __init__(
        self,
        reactions: dict[type[Message], Any] | None = None,
        hosts: tuple[str, ...] = ("n1",),
        files_dir: Path = Path("/nowhere/files"),
    ) -> None:
        two = VmList(vms=(make_vm(0, "web"), make_vm(1, "db", VmState.QUIT, tags={"k": "v"})))
        self.bus = FakeBus({GetVms: two, SetConfig: Ack(), OpenNamespace: Ack(), **(reactions or {})})
        self.bugs: list[Exception] = []
        self.spawned: list[Coroutine[Any, Any, None]] = []
        self.engine = Engine(
            self.bus,
            "n1",
            COMMANDS,
            lambda work, name: self.spawned.append(work),
            self.bugs.append,
            files_dir,
        )
        self.engine.hosts = lambda namespace: hosts  # type: ignore[method-assign]
        self.session = Session()

    async def run(self, line: str) -> list[Group]:
        """All groups of a line."""
        return [group async for group in self.engine.run_line(line, self.session)]

    async def one(self, line: str) -> Response:
        """The only response to a line."""
        (group,) = await self.run(line)
        (response,) = group.responses
        return response

    async def text(self, line: str) -> str:
        """The text of a line that must succeed."""
        response = await self.one(line)
        if response.error:
            raise AssertionError(response.error)
        return response.text

    async def error(self, line: str) -> str:
        """The error of a line, empty if it succeeded."""
        return (await self.one(line)).error


class SocketClient:
    """A client of the command socket that speaks its protocol byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *values: Any, end: bytes = b"") -> None:
        """Send JSON values with nothing, or `end`, between them."""
        self.writer.write(b"".join(json.dumps(value).encode() + end for value in values))
        await self.writer.drain()

    async def receive(self) -> dict[str, Any]:
        """The next reply."""
        reply: dict[str, Any] = json.loads(await self.reader.readuntil(b"\n"))
        return reply

    async def command(self, line: str) -> dict[str, Any]:
        """Run a command, as minimega's clients do; gives its first reply."""
        await self.send({"Command": line, "Suggest": "", "PlumbPipe": ""})
        return await self.receive()

    async def is_closed(self) -> bool:
        """Wait for more; True if the server closed the connection instead."""
        return await self.reader.read(1) == b""


class SocketServer:
    """The command socket of a base directory, without an actor around it."""

    def __init__(self, base: Path, bus: FakeBus) -> None:
        self.base = base
        self.bus = bus
        self.path = base / "minimega"
        self.tasks: set[asyncio.Task[None]] = set()
        self.bugs: list[Exception] = []
        self.engine = Engine(bus, "n1", COMMANDS, lambda work, name: work.close(), self.bugs.append, base / "files")

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one more client."""
        task = asyncio.get_running_loop().create_task(Connection(self.engine, reader, writer).serve())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SocketClient]:
        """A connected client."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=64 * 1024 * 1024)
        try:
            yield SocketClient(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def serving(base: Path, reactions: dict[type[Message], Any] | None = None) -> AsyncIterator[SocketServer]:
    """A command socket in a base directory, on a fake bus that knows two VMs; a bug in a command fails the test."""
    known: dict[type[Message], Any] = {GetVms: make_vms(2), GetDraft: Draft(config=VmConfig()), OpenNamespace: Ack()}
    server = SocketServer(base, FakeBus({**known, **(reactions or {})}))
    listener = await asyncio.start_unix_server(server.accept, server.path, backlog=BACKLOG)
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
        for task in tuple(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
    if server.bugs:
        raise server.bugs[0]
