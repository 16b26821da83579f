"""The client library as its users have it: asking, running lines, events, pipes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import bus
from bus.messages.cli import LineOutput, RunLine
from bus.messages.control import GetStatus
from bus.messages.namespace import Draft, GetDraft
from bus.messages.pipe import WritePipe
from bus.messages.vm import GetVms, StartVms, TopVms, VmList, VmStarted
from tests.integration.client_host import ClientHost, client_host
from tests.system.patience import FACTOR

QUICK_S = 20.0 * FACTOR


@pytest.fixture(scope="module")
def host() -> Iterator[ClientHost]:
    """One for all tests of this file that kill nothing of it."""
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


async def test_a_request_has_the_reply_that_it_declares(client: bus.Client) -> None:
    reply: VmList = await client.ask("vm", GetVms())
    assert reply == VmList(vms=())
    with pytest.raises(bus.NotFoundError, match="vm not found: ghost"):
        await client.ask("vm", GetVms(target="ghost"))


async def test_nobody_at_an_address_is_told_after_a_while(client: bus.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.library.api.ABSENT_S", 0.2)
    with pytest.raises(bus.UnreachableError, match="no actor `nobody`"):
        await client.ask("nobody", GetStatus())


async def test_a_line_answers_with_rows(client: bus.Client) -> None:
    rows = await client.rows("namespace")
    assert {"host", "namespace"} <= set(rows[0])
    assert "minimega" in {row["namespace"] for row in rows}
    assert await client.rows("vm config memory 64") == []
    assert (await client.run("vm config memory")).text == "64"


async def test_a_line_acts_in_the_namespace_of_the_call_or_of_the_client(host: ClientHost, client: bus.Client) -> None:
    await client.run("vm config memory 65", namespace="exp1")
    async with bus.connect(host.base, namespace="exp1") as other:
        assert (await other.run("vm config memory")).text == "65"
        draft: Draft = await other.ask("namespace", GetDraft())
        assert draft.config.memory_mib == 65
    assert (await client.run("vm config memory", namespace="exp2")).text == "2048"


async def test_a_line_that_fails_says_where_and_why(client: bus.Client) -> None:
    output = await client.run("vm config memory lots")
    (response,) = output.responses
    assert output.errors == (f"{response.host}: {response.error}",)
    assert "invalid syntax" in response.error
    with pytest.raises(bus.CommandFailed, match="invalid syntax"):
        await client.rows("vm config memory lots")


async def test_a_confined_line_cannot_leave_its_namespaces(client: bus.Client) -> None:
    async def errors(line: str, namespace: str = "exp1") -> str:
        request = RunLine(line=line, confined=("exp1",))
        reply: LineOutput = await client.ask("cli", request, namespace=namespace)
        return "\n".join(response.error for group in reply.groups for response in group.responses)

    assert await errors("vm config memory 64") == ""
    assert "reaches beyond" in await errors("shell id")
    assert "may not act in namespace exp2" in await errors("vm config memory 64", "exp2")


async def test_events_come_decoded_from_the_start_of_the_block(client: bus.Client) -> None:
    async with client.subscribe("vm/exp1/", "pipe/") as events:
        await publish(client, 2)
        await client.ask("plumber", WritePipe(pipe="p", data=b"x\n"))
        found = [await events.next(QUICK_S) for _ in range(3)]
    assert [one.topic for one in found if isinstance(one, bus.Received)] == [
        *["vm/exp1/web/started/"] * 2,
        "pipe/minimega/p/all/",
    ]
    assert isinstance(found[0], bus.Received)
    assert isinstance(found[0].message, VmStarted)
    with pytest.raises(bus.ClosedError):
        await events.next()


async def test_a_subscriber_that_is_too_slow_is_told_how_many_it_missed(client: bus.Client) -> None:
    async with client.subscribe("vm/slow/", capacity=10) as events, client.subscribe("vm/slow/") as quick:
        await publish(client, 500, "slow")
        for _ in range(500):
            assert isinstance(await quick.next(QUICK_S), bus.Received)
        await publish(client, 1, "slow")
        await quick.next(QUICK_S)
        found = [await events.next(QUICK_S) for _ in range(11)]
        assert [type(one) for one in found] == [*[bus.Received] * 10, bus.Lost]
        assert found[-1] == bus.Lost("vm/slow/web/started/", 491, "slow")
        await publish(client, 1, "slow")
        assert isinstance(await events.next(QUICK_S), bus.Received)
    assert events.lost == 491


async def test_two_clients_of_one_program_are_apart(host: ClientHost, client: bus.Client) -> None:
    async with bus.connect(host.base) as other:
        await other.ask("vm", GetVms())
    with pytest.raises(bus.ClosedError):
        await other.ask("vm", GetVms())
    assert await client.ask("vm", GetVms()) == VmList(vms=())


async def test_closing_ends_whatever_waits(host: ClientHost) -> None:
    client = bus.connect(host.base)
    await client.open()
    reader = client.read_pipe("idle")
    loop = asyncio.get_running_loop()
    async with client.subscribe("vm/") as events, reader:
        waiting = [
            loop.create_task(client.ask("vm", TopVms(window_s=30.0))),
            loop.create_task(events.next()),
            loop.create_task(reader.next()),
        ]
        await client.ask("vm", GetVms())
        await client.close()
        await client.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, bus.ClosedError), outcome
    for use in (client.ask("vm", GetVms()), client.run("version"), client.rows("version")):
        with pytest.raises(bus.ClosedError, match="not connected"):
            await use
    with pytest.raises(bus.ClosedError):
        client.subscribe("vm/")
    async with client:  # it can be opened again
        assert await client.ask("vm", GetVms()) == VmList(vms=())


async def test_who_stops_waiting_leaves_the_client_as_it_was(client: bus.Client) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.ask("vm", TopVms(window_s=30.0))
    with pytest.raises(bus.DeadlineError):
        await client.ask("vm", TopVms(window_s=30.0), timeout_s=0.1)
    assert await client.ask("vm", GetVms()) == VmList(vms=())


async def test_a_client_is_of_no_use_after_a_fork(client: bus.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(bus.ClosedError, match="connect again after a fork"):
            await client.ask("vm", GetVms())
    assert await client.ask("vm", GetVms()) == VmList(vms=())


@pytest.mark.parametrize(
    ("where", "key", "error", "sentence"),
    [
        ("/nonexistent/base", None, bus.UnreachableError, "minibus is not running on /nonexistent/base"),
        ("tcp://127.0.0.1:9", None, bus.InvalidError, "takes a key"),
        ("", "/nonexistent/key", bus.NotFoundError, "/nonexistent/key"),
        ("/" + "x" * 200, None, bus.InvalidError, "longer than"),
    ],
)
async def test_who_cannot_connect_is_told_why(
    where: str, key: str | None, error: type[bus.BusError], sentence: str
) -> None:
    started_s = time.monotonic()
    with pytest.raises(error, match=sentence):
        async with bus.connect(where, key=key):
            pass
    assert time.monotonic() - started_s < 10.0


def test_names_of_the_library_are_there_and_no_others() -> None:
    for name in bus.__all__:
        assert getattr(bus, name).__doc__
    assert set(bus.__all__) <= set(dir(bus))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bus.nonsense  # type: ignore[attr-defined]
    assert Path(bus.__file__).with_name("py.typed").exists()
