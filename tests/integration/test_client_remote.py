"""The client library from another host: through the gateway, with keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import bus
from bus.messages.control import GetActors
from bus.messages.vm import GetVms, StartVms, TopVms, VmList
from tests.integration.client_host import LOCAL, ClientHost, client_host
from tests.system.patience import FACTOR

QUICK_S = 20.0 * FACTOR


@pytest.fixture(scope="module")
def host() -> Iterator[ClientHost]:
    """One for all tests that kill nothing of it, with a gateway."""
    with client_host((*LOCAL, "gateway")) as found:
        yield found


@pytest.fixture(scope="module")
def control(host: ClientHost) -> Path:
    """The file of a client that may do everything."""
    return host.key("admin", "--role", "control")


@pytest.fixture(scope="module")
def limited(host: ClientHost) -> Path:
    """The file of a client that is limited to a namespace."""
    return host.key("limited", "--role", "control", "--namespace", "exp1")


@pytest.fixture(scope="module")
def tap(host: ClientHost) -> Path:
    """The file of a client that may watch the pipes of a namespace."""
    return host.key("tap", "--role", "tap", "--topic", "pipe/exp1/")


async def test_a_client_elsewhere_does_what_one_on_the_host_does(host: ClientHost, control: Path) -> None:
    async with bus.connect(host.address, key=control) as client:
        assert await client.ask("vm", GetVms()) == VmList(vms=())
        assert (await client.run("vm config memory", namespace="exp5")).text == "2048"
        async with client.subscribe("vm/exp1/") as events:
            await client.ask("vm", StartVms(target="2"), namespace="exp1")
            found = [await events.next(QUICK_S) for _ in range(2)]
        assert [type(one) for one in found] == [bus.Received] * 2
        async with client.write_pipe("foo") as writer, client.read_pipe("foo") as reader:
            await writer.write(b"hello\n")
            async for message in reader.messages():
                assert message == b"hello"
                break


async def test_the_address_may_be_that_of_the_file(control: Path) -> None:
    async with bus.connect(key=control, namespace="exp1") as client:
        assert (await client.rows("vm config memory")) == []


async def test_a_client_acts_where_its_key_may(host: ClientHost, control: Path, limited: Path) -> None:
    for key, given, namespace in (
        (limited, "", "exp1"),
        (control, "", "minimega"),
        (control, "exp3", "exp3"),
        (host.key("both", "--role", "control", "--namespace", "exp1", "--namespace", "exp2"), "", "minimega"),
    ):
        async with bus.connect(key=key, namespace=given) as client:
            assert client.namespace == namespace
    with bus.connect_sync(key=limited) as blocking:
        assert blocking.run("vm config memory").errors == ()


async def test_a_key_of_a_namespace_acts_there_alone(host: ClientHost, limited: Path) -> None:
    async with bus.connect(key=limited, namespace="exp1") as client:
        assert (await client.run("vm config memory 64")).errors == ()
        assert (await client.run("vm config memory")).text == "64"
        for line in ("shell id", "namespace exp2 vm info", "vm config filesystem /", "pipe exp2//foo x"):
            with pytest.raises(bus.CommandFailed):
                await client.rows(line)
        with pytest.raises(bus.DeniedError, match="not for the namespace `minimega`"):
            await client.run("vm info", namespace="minimega")
        with pytest.raises(bus.DeniedError):
            await client.ask("node", GetActors())
        async with client.subscribe("vm/exp1/") as events:  # without `stats/`, which it may not watch
            await client.ask("vm", StartVms(target="1"))
            assert isinstance(await events.next(QUICK_S), bus.Received)


async def test_a_tap_watches_its_topics_and_nothing_else(host: ClientHost, control: Path, tap: Path) -> None:
    async with bus.connect(key=tap, namespace="exp1") as client, bus.connect(key=control, namespace="exp1") as other:
        with pytest.raises(bus.DeniedError, match="may not watch `vm/`"):
            async with client.subscribe("vm/"):
                pass
        with pytest.raises(bus.DeniedError):
            await client.run("vm info")
        async with (
            client.subscribe("pipe/exp1/foo/") as events,
            other.write_pipe("foo") as writer,
            client.read_pipe("foo") as reader,
        ):
            await writer.write(b"hello\n")
            event = await events.next(QUICK_S)
            assert isinstance(event, bus.Received)
            assert event.topic == "pipe/exp1/foo/all/"
            async for message in reader.messages():
                assert message == b"hello"
                break


async def test_the_blocking_client_goes_there_too(host: ClientHost, control: Path) -> None:
    with bus.connect_sync(host.address, key=control) as client:
        assert client.ask("vm", GetVms()) == VmList(vms=())


async def test_a_key_that_is_revoked_is_told_so(host: ClientHost) -> None:
    file = host.key("brief", "--role", "control")
    async with bus.connect(key=file) as client, client.subscribe("vm/") as events:
        await client.ask("vm", GetVms())
        waiting = asyncio.get_running_loop().create_task(client.ask("vm", TopVms(window_s=30.0)))
        await client.ask("vm", GetVms())
        await asyncio.to_thread(host.revoke, "brief")
        with pytest.raises(bus.DeniedError, match="brief"):
            await waiting
        with pytest.raises(bus.DeniedError, match="brief"):
            await events.next(QUICK_S)
        with pytest.raises(bus.DeniedError, match="brief"):
            await client.ask("vm", GetVms())
    with pytest.raises(bus.DeniedError, match="refuses the key brief"):
        async with bus.connect(key=file):
            pass


async def test_nobody_at_the_address_is_told_at_once(control: Path) -> None:
    with pytest.raises(bus.UnreachableError, match="nobody listens at tcp://127"):
        async with bus.connect("tcp://127.0.0.1:9", key=control):
            pass


async def test_all_goes_on_after_a_restart_of_the_gateway() -> None:
    with client_host(("broker", "vm", "gateway")) as host:
        key = host.key("admin", "--role", "control")
        async with bus.connect(key=key) as client, client.subscribe("vm/exp1/") as events:
            await client.ask("vm", StartVms(target="1"), namespace="exp1")
            assert isinstance(await events.next(QUICK_S), bus.Received)
            asking = asyncio.get_running_loop().create_task(client.ask("vm", TopVms(window_s=0.3)))
            host.restart("gateway")
            await asking
            assert await events.next(QUICK_S) == bus.Lost("vm/exp1/", 0, "interrupted")
            await client.ask("vm", StartVms(target="1"), namespace="exp1")
            assert isinstance(await events.next(QUICK_S), bus.Received)
