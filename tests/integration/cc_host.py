"""A broker and the cc actor as processes of their own; `vm` and `namespace` are played by the test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from bus import codec
from bus.client import connect
from bus.errors import BusError, OutcomeUnknownError
from bus.messages.base import DEFAULT_NAMESPACE, Ack, Message, Request
from bus.messages.cc import (
    CommandKind,
    CommandPosted,
    CommandSpec,
    GetClients,
    GetCommands,
    GetOutcomes,
    GetResponses,
    GuestFilter,
    Outcome,
    Outcomes,
    PostCommand,
)
from bus.messages.control import Ping
from bus.messages.envelope import Envelope
from bus.messages.namespace import GetNamespaces, NamespaceInfo, NamespaceList
from bus.messages.vm import (
    GetVmNames,
    GetVms,
    GuestKind,
    TagVms,
    VmConfig,
    VmFlushed,
    VmInfo,
    VmLaunched,
    VmList,
    VmNames,
    VmQuit,
    VmReport,
    VmState,
    VmTagged,
)
from bus.paths import FILES, context
from bus.port import Port
from bus.topics import vm_topic
from tests.integration.cc_agent import Agent
from tests.integration.processes import broker_serves, kill, serves, until

R = TypeVar("R", bound=Message)
ROOT = Path(__file__).parents[2]
MODULES = {"broker": "bus.broker", "cc": "actors.cc", "plumber": "actors.plumber"}
WAIT_S = 30.0


def uuid_of(number: int) -> str:
    """Of the VM with this id."""
    return f"00000000-0000-4000-8000-{number:012d}"


class CcHost:
    """See the module."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.vms: dict[int, VmInfo] = {}
        self.port: Port
        self._roles: dict[str, Port] = {}

    @property
    def files(self) -> Path:
        """The file area."""
        return self.base / "files"

    def response(self, number: int, vm_id: int, name: str = "stdout", namespace: str = "") -> Path:
        """Where something that a guest has sent should be."""
        return self.files / namespace / "miniccc_responses" / str(number) / uuid_of(vm_id) / name

    # --- processes

    def start(self, kind: str) -> None:
        """Start one without waiting for it."""
        argv = [sys.executable, "-m", MODULES[kind], "--base", str(self.base)]
        with (self.base / f"{kind}.err").open("ab") as stderr:
            environment = {**os.environ, FILES: str(self.files)}
            self.processes[kind] = subprocess.Popen(argv, stderr=stderr, cwd=ROOT, env=environment)

    async def restart(self, kind: str = "cc") -> None:
        """SIGKILL, and start another."""
        kill(self.processes.pop(kind))
        self.start(kind)
        await serves(self.port, kind)

    def said(self, kind: str = "cc") -> str:
        """What it logged."""
        return (self.base / f"{kind}.err").read_text()

    def end(self) -> None:
        """Kill what still runs."""
        for kind in tuple(self.processes):
            kill(self.processes.pop(kind))

    # --- VMs

    async def play(self, *roles: str) -> None:
        """Be these actors."""
        for role in roles:
            port = Port(context(self.base), actor=role, on_request=lambda *asked, own=role: self._answer(own, *asked))
            self._roles[role] = port
            await port.open(publish=True)
            await port.register(os.getpid())

    async def close(self) -> None:
        """Be nobody."""
        for port in self._roles.values():
            await port.leave()
            await port.close()

    def _answer(self, role: str, envelope: Envelope, body: bytes) -> None:
        self._roles[role].reply(envelope.id, self._reply(codec.decode_body(body), envelope.namespace))

    def _reply(self, request: Message, namespace: str) -> Message:
        match request:
            case Ping():
                return Ack()
            case GetNamespaces():
                names = sorted({vm.namespace for vm in self.vms.values()} | {DEFAULT_NAMESPACE})
                return NamespaceList(namespaces=tuple(NamespaceInfo(name=name, hosts=("h",)) for name in names))
            case GetVms(target=target):
                vms = [vm for vm in self.vms.values() if vm.namespace == namespace]
                if target != "all":
                    vms = [vm for vm in vms if str(vm.vm_id) in target.split(",")]
                return VmList(vms=tuple(vms))
            case GetVmNames():
                return VmNames(uuids={vm.name: vm.uuid for vm in self.vms.values() if vm.namespace == namespace})
            case TagVms(target=target, key=key, value=value):
                vm = self.vms[int(target)]
                if sum(len(word) for pair in vm.tags.items() for word in pair) + len(key) + len(value) > 65_536:
                    return VmReport(errors=("too many tags",))
                self.change(vm.vm_id, tags={**vm.tags, key: value})
                return VmReport()
            case _:
                raise TypeError(type(request).__name__)

    def launch(
        self,
        vm_id: int,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        kind: GuestKind = GuestKind.CONTAINER,
        uuid: str = "",
        backchannel: bool = True,
        tags: dict[str, str] | None = None,
    ) -> Path:
        """A VM runs; returns where its agent is to connect."""
        directory = self.base / str(vm_id)
        directory.mkdir(exist_ok=True)
        self.vms[vm_id] = VmInfo(
            vm_id=vm_id,
            name=f"vm{vm_id}",
            namespace=namespace,
            host="h",
            kind=kind,
            state=VmState.RUNNING,
            uuid=uuid or uuid_of(vm_id),
            created_s=1.0,
            config=VmConfig(backchannel=backchannel),
            tags=tags or {},
        )
        self._publish(vm_id, VmLaunched, "launched")
        return directory / "cc" / "cc"

    def change(self, vm_id: int, *, state: VmState | None = None, tags: dict[str, str] | None = None) -> None:
        """It has another state, or other tags."""
        fields = {name: getattr(self.vms[vm_id], name) for name in VmInfo.__struct_fields__}
        if tags is not None:
            self.vms[vm_id] = VmInfo(**{**fields, "tags": tags})
            self._publish(vm_id, VmTagged, "tagged", tags=tags)
        if state is not None:
            self.vms[vm_id] = VmInfo(**{**fields, "state": state})
            self._publish(vm_id, VmQuit if state is VmState.QUIT else VmLaunched, "changed")

    def flush(self, vm_id: int) -> None:
        """It is gone."""
        self._publish(vm_id, VmFlushed, "flushed")
        del self.vms[vm_id]

    def _publish(self, vm_id: int, kind: Any, what: str, **more: Any) -> None:
        vm = self.vms[vm_id]
        event = kind(vm_id=vm_id, name=vm.name, uuid=vm.uuid, kind=vm.kind, state=vm.state, **more)
        self._roles["vm"].publish(vm_topic(vm.namespace, vm.name, what), event, namespace=vm.namespace)

    # --- what users do

    async def ask(self, request: Request[R], namespace: str = DEFAULT_NAMESPACE, timeout_s: float = WAIT_S) -> R:
        """Ask the cc actor."""
        return await self.port.ask("cc", request, timeout_s=timeout_s, namespace=namespace)

    async def run(self, *argv: str, namespace: str = DEFAULT_NAMESPACE, **more: Any) -> int:
        """Post a program; returns its id."""
        spec = CommandSpec(kind=CommandKind.EXEC, argv=argv, **more)
        return (await self.post(spec, namespace=namespace)).id

    async def post(
        self, spec: CommandSpec, *, namespace: str = DEFAULT_NAMESPACE, wanted: GuestFilter | None = None
    ) -> CommandPosted:
        """Post a command."""
        return await self.ask(PostCommand(command=spec, filter=wanted), namespace)

    async def outcomes(self, number: int, namespace: str = DEFAULT_NAMESPACE) -> dict[str, Outcome]:
        """What has come of a command, waiting for it, by name of the VM."""
        for _ in range(20):
            try:
                found: Outcomes = await self.ask(GetOutcomes(id=number, wait=True), namespace)
            except BusError as error:
                if not (error.retryable or isinstance(error, OutcomeUnknownError)):
                    raise
                await asyncio.sleep(0.2)
                continue
            if found.done:
                return {row.vm: row for row in found.outcomes}
        raise TimeoutError(f"command {number} is not done: {found}")

    async def outcomes_when(self, number: int, count: int, namespace: str = DEFAULT_NAMESPACE) -> dict[str, Outcome]:
        """The same, once so many guests have answered: those that are not connected are not waited for otherwise."""

        async def have() -> bool:
            try:
                (command,) = (await self.ask(GetCommands(id=number), namespace)).commands
            except BusError as error:
                if error.retryable:
                    return False
                raise
            return command.responses >= count

        await until(have, WAIT_S)
        return await self.outcomes(number, namespace)

    async def responses(self, target: str, namespace: str = DEFAULT_NAMESPACE) -> dict[str, bytes]:
        """All that has come back."""
        found: dict[str, bytes] = {}
        cursor = ""
        while True:
            page = await self.ask(GetResponses(target=target, cursor=cursor), namespace)
            for file in page.files:
                path = f"{file.id}/{file.uuid}/{file.name}"
                assert file.offset == len(found.get(path, b""))
                found[path] = found.get(path, b"") + file.data
            cursor = page.cursor
            if not cursor:
                return found

    async def connected(self, count: int, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Wait until so many agents are."""

        async def are() -> bool:
            try:
                return len((await self.ask(GetClients(), namespace)).clients) == count
            except BusError:
                return False

        await until(are, WAIT_S)

    async def agent(self, vm_id: int, **more: Any) -> Agent:
        """An agent of a VM that is launched, if it is not; to be entered."""
        path = self.launch(vm_id) if vm_id not in self.vms else self.base / str(vm_id) / "cc" / "cc"
        return Agent(path, uuid_of(vm_id), **more)


@asynccontextmanager
async def cc_host(base: Path, *others: str) -> AsyncIterator[CcHost]:
    """A host that serves; nothing is left afterwards."""
    host = CcHost(base)
    try:
        host.start("broker")
        await broker_serves(base)
        await host.play("vm", "namespace")
        for kind in ("cc", *others):
            host.start(kind)
        async with connect(base) as host.port:
            for kind in ("cc", *others):
                await serves(host.port, kind)
            yield host
    finally:
        await host.close()
        host.end()
