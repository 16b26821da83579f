"""What becomes of asks, lines, subscriptions and pipes of the client library when something is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import bus
from bus.messages.pipe import GetPipes
from bus.messages.vm import GetVms, StartVms, TopVms
from tests.integration.client_host import ClientHost, client_host
from tests.system.patience import FACTOR

QUICK_S = 20.0 * FACTOR


@pytest.fixture
def host() -> Iterator[ClientHost]:
    """One for each test: what is started again would be taken for a leak."""
    with client_host() as found:
        yield found


@pytest.fixture
async def client(host: ClientHost) -> AsyncIterator[bus.Client]:
    """A connection."""
    async with asyncio.timeout(60):
        async with bus.connect(host.base) as found:
            yield found


async def publish(client: bus.Client, count: int, namespace: str = "exp1") -> None:
    """Have the toy publish so many events on `vm/<namespace>/web/started/`."""
    await client.ask("vm", StartVms(target=str(count)), namespace=namespace)


async def test_a_line_is_run_once_by_its_id_even_if_the_command_server_is_killed(
    host: ClientHost, client: bus.Client
) -> None:
    line = "pipe once hello"
    await client.run(line, msg_id="once-1")
    await client.run(line, msg_id="once-1")
    with pytest.raises(bus.ConflictError):
        await client.run("pipe once bye", msg_id="once-1")
    (pipe,) = (await client.ask("plumber", GetPipes(pipe="once"))).pipes
    assert pipe.count == 1
    await client.run("ns queueing true", msg_id="once-2", namespace="once")
    host.restart("cli")
    await client.run("ns queueing true", msg_id="once-2", namespace="once")
    assert (await client.run("ns queueing", namespace="once")).text == "true"


async def test_after_a_restart_of_the_broker_all_goes_on_and_the_gap_is_told(
    host: ClientHost, client: bus.Client
) -> None:
    async with client.subscribe("vm/exp1/") as events:
        await publish(client, 1)
        assert isinstance(await events.next(QUICK_S), bus.Received)
        asking = asyncio.get_running_loop().create_task(client.ask("vm", TopVms(window_s=0.3)))
        host.restart("broker")
        await asking
        await publish(client, 1)
        found = [await events.next(QUICK_S) for _ in range(2)]
        assert found[0] == bus.Lost("vm/exp1/", 0, "interrupted")
        assert isinstance(found[1], bus.Received)
        assert found[1].envelope.topic_seq >= 2


async def test_what_was_asked_while_nobody_is_there_is_not_done_later(
    host: ClientHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.library.api.ABSENT_S", 0.2)
    async with bus.connect(host.base) as client, client.subscribe("vm/late/") as events:
        host.kill("broker")
        with pytest.raises((bus.UnreachableError, bus.OutcomeUnknownError)):  # it may still have been under way
            await client.ask("vm", GetVms(), timeout_s=0.5)
        with pytest.raises(bus.UnreachableError, match=f"minibus is not running on {host.base}"):
            await publish(client, 1, "late")
        host.start("broker")
        monkeypatch.setattr("bus.library.api.ABSENT_S", QUICK_S)
        await client.ask("vm", GetVms())
        assert await events.next(QUICK_S) == bus.Lost("vm/late/", 0, "interrupted")
        await publish(client, 1, "late")
        only = await events.next(QUICK_S)
        assert isinstance(only, bus.Received)
        assert only.envelope.topic_seq == 1


async def test_a_pipe_loses_nothing_and_goes_on_after_a_restart(host: ClientHost, client: bus.Client) -> None:
    lines = [b"line %d" % number for number in range(2_000)]
    found: list[bytes] = []

    async def write() -> None:
        async with client.write_pipe("flow") as writer:
            for line in lines:
                await writer.write(line + b"\n")

    async with asyncio.TaskGroup() as group, client.read_pipe("flow") as reader:
        group.create_task(write())
        async for message in reader.messages():
            found.append(message)
            if len(found) == 1_000:
                host.restart("plumber")
            if message == lines[-1]:
                break
    assert sorted(set(found)) == sorted(lines)
    assert reader.lost == 0
