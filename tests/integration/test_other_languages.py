"""Examples in other languages come in over TCP with a key: C with libzmq, Node.js with two packages from npm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.access.key_files import new_pair
from bus.access.keys import Role
from bus.client import connect
from bus.messages.pipe import DeletePipes, GetPipes, WritePipe
from bus.port import Port
from tests.integration.examples import c_example, complaint, node_example, result, running, says
from tests.integration.gateway_host import GatewayHost, gateway_host
from tests.system.patience import FACTOR

PATIENCE_S = 10.0 * FACTOR


@pytest.fixture(scope="module")
def started() -> Iterator[GatewayHost]:
    """The processes."""
    with gateway_host() as host:
        yield host


@pytest.fixture
async def host(started: GatewayHost) -> GatewayHost:
    """A host that serves."""
    await started.serves()
    return started


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example in C."""
    return [str(c_example(tmp_path_factory.mktemp("c")))]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example for Node.js."""
    return node_example(tmp_path_factory.mktemp("node"))


async def write(port: Port, pipe: str) -> None:
    """Two batches, then the end of the pipe."""
    for data in (b"a\nb\n", b"c\n"):
        await port.ask("plumber", WritePipe(pipe=pipe, data=data), timeout_s=PATIENCE_S)
    await port.ask("plumber", DeletePipes(pipe=pipe), timeout_s=PATIENCE_S)


async def test_node_taps_a_pipe_without_missing_anything(host: GatewayHost, node: list[str]) -> None:
    file = host.key_file(await host.make(Role.TAP, topics=("pipe/minimega/",)))
    async with connect(host.base) as port, running(node, file, "tap", "minimega", "p (1)") as tapping:
        await says(tapping, "joined")
        await write(port, "p (1)")
        assert await result(tapping) == b"a\nb\nc\n"


async def test_node_asks_and_is_told_why_not(host: GatewayHost, node: list[str]) -> None:
    control = host.key_file(await host.make(namespaces=("exp1",)))
    async with running(node, control, "vms", "exp1") as asking:
        assert await result(asking) == b""  # it has none
    async with running(node, control, "vms", "exp2") as asking:
        assert "not for the namespace `exp2`" in await complaint(asking)
    async with running(node, control, "tap", "exp2", "p") as tapping:
        assert await complaint(tapping) == "remote: this key may not watch pipe/exp2/p/\n"
    tap = await host.make(Role.TAP)
    async with running(node, host.key_file(tap), "vms", "exp1") as asking:
        assert "may only watch" in await complaint(asking)
    await host.revoke(tap)
    async with running(node, host.key_file(tap), "tap", "exp1", "p") as tapping:
        assert "refuses this key" in await complaint(tapping)


async def test_c_writes_and_reads_a_pipe_of_another_host(host: GatewayHost, c: list[str]) -> None:
    file = host.key_file(await host.make())
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    async with connect(host.base) as port, running(c, file, "read", "p") as reading:
        await says(reading, "attached")
        async with running(c, file, "write", "p") as writing:
            await result(writing, lines)
        (pipe,) = (await port.ask("plumber", GetPipes(pipe="p"), timeout_s=PATIENCE_S)).pipes
        assert (pipe.count, pipe.readers) == (20_000, 1)
        await port.ask("plumber", DeletePipes(pipe="p"), timeout_s=PATIENCE_S)
        whole = await result(reading) == lines
        assert whole


async def test_c_taps_what_its_key_covers(host: GatewayHost, c: list[str]) -> None:
    file = host.key_file(await host.make(Role.TAP, topics=("pipe/minimega/p/",)))
    async with connect(host.base) as port, running(c, file, "tap", "p") as tapping:
        await says(tapping, "joined")
        await write(port, "p")
        topic = "pipe/minimega/p/all/"
        assert (await result(tapping)).decode() == f"{topic} 1: a\n{topic} 2: b\n{topic} 3: c\n"
    async with running(c, file, "tap", "q") as tapping:
        assert await complaint(tapping) == "this key may not tap that pipe\n"
    async with running(c, file, "write", "p") as writing:
        writing.stdin.write(b"x\n")  # type: ignore[union-attr]
        assert "may only watch" in await complaint(writing)


async def test_c_says_why_it_does_not_get_in(host: GatewayHost, c: list[str]) -> None:
    pair = new_pair()
    stranger = host.key_file(host.remote("stranger", pair.public, pair.secret))
    async with running(c, stranger, "tap", "p") as tapping:
        assert f"tcp://127.0.0.1:{host.endpoint.port + 1} refuses this key" in await complaint(tapping)
    damaged = host.base / "damaged.toml"
    damaged.write_text(stranger.read_text().replace("server", "sever"))
    async with running(c, damaged, "tap", "p") as tapping:
        assert "no file of `minibus key make`" in await complaint(tapping)
