"""Lines of every kind, and what passes through them: pipes and tunnels."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bus.errors import BusError, ConflictError, NotFoundError
from bus.library.pipes import PipeReader, PipeWriter
from bus.messages.cc import GetCcState, GetClients, Listen, Unlisten
from bus.messages.pipe import GetPipes
from bus.messages.tunnel import CloseTunnel, GetTunnels, OpenTunnel
from bus.messages.vm import GuestKind, VmState
from shims.agent.line.wire import FLUSH
from tests.integration.cc_agent import PREAMBLE, Agent, frame
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import until
from tests.ports import free_port


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


async def _is(value: bool) -> bool:
    return value


# ---------------------------------------------------------------- TCP


async def test_agents_come_over_tcp_if_they_are_of_the_namespace(host: CcHost) -> None:
    port = free_port()
    await host.ask(Listen(port=port, address="127.0.0.1"))
    with pytest.raises(ConflictError, match="listened on already"):
        await host.ask(Listen(port=port), "other")
    assert (await host.ask(GetCcState())).listeners == (f"127.0.0.1:{port}",)
    host.launch(1)
    host.launch(2, namespace="other")
    where = ("127.0.0.1", port)
    turned = "03020100-0100-0002-8000-000000000004"
    host.launch(4, uuid="00010203-0001-0200-8000-000000000004")
    async with Agent(where, uuid_of(1)) as good, Agent(where, uuid_of(2)) as stranger, Agent(where, turned):
        await host.connected(2)
        await until(lambda: _is("no VM of this namespace" in stranger.refused))
        async with Agent(where, uuid_of(1)) as double:
            await until(lambda: _is("another agent is connected" in double.refused))
            await host.outcomes(await host.run("x"))
            assert (good.ran, double.ran) == ({1: 1}, {})
            async with await host.agent(1) as own:
                await until(lambda: _is(own.welcomes == 1))
        await host.restart()
        await host.connected(2)
    await host.ask(Unlisten(port=port))
    with pytest.raises(NotFoundError, match="not listened on"):
        await host.ask(Unlisten(port=port))
    with pytest.raises(OSError):
        await asyncio.open_connection(*where)


async def test_a_port_that_is_taken_is_said_to_be(host: CcHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await host.ask(Listen(port=port, address="127.0.0.1"))
    assert (await host.ask(GetCcState())).listeners == ()


# ---------------------------------------------------------------- serial lines


async def test_a_serial_line_is_dialled_again_and_again(host: CcHost) -> None:
    """What QEMU does: it listens, takes one connection, and the guest never notices who is there."""
    taken: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    host.launch(1, kind=GuestKind.KVM)
    server = await asyncio.start_unix_server(lambda r, w: taken.put_nowait((r, w)), host.base / "1" / "cc")
    hello = {"versions": [1], "session": 3, "uuid": "?", "boot": "b", "agent": "a", "hostname": "serial"}
    async with server:
        for start in range(2):
            reader, writer = await asyncio.wait_for(taken.get(), 20)
            assert await reader.readexactly(len(FLUSH + PREAMBLE)) == FLUSH + PREAMBLE
            writer.write(os.urandom(1000) + b"login: " + PREAMBLE + frame({"type": "hello", **hello}))
            writer.write(frame({"type": "synced"}))
            await host.connected(1)
            writer.write(frame({"type": "ping", "n": 1})[:-2])  # cut off, and begun anew
            writer.write(PREAMBLE + frame({"type": "hello", **hello}) + frame({"type": "synced"}))
            await host.connected(1)
            (client,) = (await host.ask(GetClients())).clients
            assert client.hostname == "serial"
            if start == 0:
                await host.restart()
            else:
                writer.write(b"garbage" * 100)
                seen = await reader.readuntil(PREAMBLE)  # those of the sessions, then one out of turn
                while b"welcome" not in seen:
                    seen += await reader.readuntil(PREAMBLE)
            writer.close()


# ---------------------------------------------------------------- pipes


async def test_pipes_reach_into_guests_and_out_of_them_also_over_crashes(base_dir: Path) -> None:
    async with cc_host(base_dir, "plumber") as host, await host.agent(1) as agent:
        await host.connected(1)
        got: list[bytes] = []

        def on_pipe_data(message: dict[str, object]) -> None:
            if message["offset"] == 0:
                got.append(b"")
            got[-1] += message["data"]  # type: ignore[operator]
            if not message["more"]:
                agent.send(type="pipe_ack", channel=message["channel"], number=message["number"])

        acked: set[int] = set()
        agent.on_pipe_data = on_pipe_data  # type: ignore[attr-defined]
        agent.on_pipe_ack = lambda message: acked.add(message["number"])  # type: ignore[attr-defined]
        agent.send(type="pipe", channel=1, pipe="in", writes=False, after=0)
        agent.send(type="pipe", channel=2, pipe="out", writes=True, after=0)
        async with PipeReader(host.port, "out") as reader, PipeWriter(host.port, "in") as writer:
            await asyncio.sleep(0.3)
            await writer.write(b"line 1\n")
            long = b"x" * 200_000 + b"\n"
            await writer.write(long)
            await until(lambda: _is(got == [b"line 1\n", long]))
            agent.send(type="pipe_data", channel=2, number=1, offset=0, data=b"a", more=True)
            agent.send(type="pipe_data", channel=2, number=1, offset=1, data=b"b\n", more=False)
            first = await asyncio.wait_for(reader.next(), 10)
            assert first is not None and first.data == b"ab\n"
            waiting = asyncio.create_task(reader.next())  # says that the first is done
            await until(lambda: _is(acked == {1}))
            await host.restart()
            await host.connected(1)
            agent.send(type="pipe", channel=1, pipe="in", writes=False, after=2)
            agent.send(type="pipe", channel=2, pipe="out", writes=True, after=1)
            agent.send(type="pipe_data", channel=2, number=2, offset=0, data=b"again\n", more=False)
            second = await asyncio.wait_for(waiting, 20)
            assert second is not None and second.data == b"again\n"
            await writer.write(b"line 2\n")
            await until(lambda: _is(got[-1] == b"line 2\n"), 20.0)
            assert len(got) == 3
            ended = asyncio.create_task(reader.next())
            agent.send(type="pipe_end", channel=2, error="")
            agent.send(type="pipe_end", channel=1, error="")
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)


async def test_a_guest_that_ends_holds_no_pipe_up(base_dir: Path) -> None:
    async with cc_host(base_dir, "plumber") as host, await host.agent(1) as agent:
        await host.connected(1)
        agent.send(type="pipe", channel=1, pipe="in", writes=False, after=0)
        agent.send(type="pipe", channel=2, pipe="in", writes=False, after=0)
        agent.send(type="pipe_end", channel=2, error="")
        await until(lambda: _readers(host, 1))
        agent.agent = "started anew"
        agent.hang_up()
        await until(lambda: _readers(host, 0))
        agent.send(type="pipe", channel=1, pipe="in", writes=False, after=0)
        await until(lambda: _readers(host, 1))
        async with PipeWriter(host.port, "in") as writer:
            await writer.write(b"nobody reads this\n")
            host.change(1, state=VmState.QUIT)
            await asyncio.wait_for(writer.drain(), 20)
        assert await _readers(host, 0)


async def test_a_delivery_that_is_larger_than_any_buffer_reaches_a_guest_that_reads_slowly(base_dir: Path) -> None:
    async with cc_host(base_dir, "plumber") as host, await host.agent(1) as agent:
        await host.connected(1)
        got = bytearray()

        def on_pipe_data(message: dict[str, Any]) -> None:
            time.sleep(0.005)
            assert message["offset"] == len(got)
            got.extend(message["data"])
            if not message["more"]:
                agent.send(type="pipe_ack", channel=1, number=message["number"])

        agent.on_pipe_data = on_pipe_data  # type: ignore[attr-defined]
        agent.send(type="pipe", channel=1, pipe="in", writes=False, after=0)
        big = os.urandom(6_000_000).hex().encode() + b"\n"
        await until(lambda: _readers(host, 1))
        async with PipeWriter(host.port, "in") as writer:
            await writer.write(big)
            await until(lambda: _is(len(got) == len(big)), 60.0)
        assert bytes(got) == big
        assert agent.welcomes == 1


async def _readers(host: CcHost, count: int) -> bool:
    pipes = (await host.port.ask("plumber", GetPipes(pipe="in"), timeout_s=10.0)).pipes
    return sum(pipe.readers for pipe in pipes) == count


# ---------------------------------------------------------------- tunnels


async def test_tunnels_carry_connections_both_ways(host: CcHost) -> None:
    port = free_port()
    async with await host.agent(1) as agent:
        await host.connected(1)
        dialled: list[dict[str, object]] = []
        carried: list[bytes] = []
        ends: list[str] = []

        def on_dial(message: dict[str, object]) -> None:
            dialled.append(message)
            agent.send(type="dialed", connection=message["connection"], error="")

        def on_carry(message: dict[str, object]) -> None:
            carried.append(message["data"])  # type: ignore[arg-type]
            agent.send(type="carried", connection=message["connection"], bytes=len(carried[-1]))
            agent.send(type="carry", connection=message["connection"], data=carried[-1].upper())

        def on_shut(message: dict[str, object]) -> None:
            ends.append("shut")
            agent.send(type="shut", connection=message["connection"])

        agent.on_dial, agent.on_carry, agent.on_shut = on_dial, on_carry, on_shut  # type: ignore[attr-defined]
        await host.ask(OpenTunnel(target="vm1", source=port, host="10.9.9.9", port=80))
        big = os.urandom(2_000_000).hex().encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(big)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 30) == big.upper()
        writer.close()
        assert (dialled[0]["host"], dialled[0]["port"]) == ("10.9.9.9", 80)
        (tunnel,) = (await host.ask(GetTunnels(target="all"))).tunnels
        assert (tunnel.vm, tunnel.source, tunnel.connections) == ("vm1", port, 0)
        with pytest.raises(ConflictError, match="Address already in use"):
            await host.ask(OpenTunnel(target=uuid_of(1), source=port, host="h", port=80))
        assert len((await host.ask(GetTunnels(target="vm1"))).tunnels) == 1
        await host.restart()
        await host.connected(1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: _is(len(dialled) == 2))
        writer.close()
        await host.ask(CloseTunnel(target="vm1", id=tunnel.id))
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(NotFoundError, match="no such client: vm9"):
            await host.ask(OpenTunnel(target="vm9", source=port, host="h", port=80))


async def test_nothing_is_carried_before_the_guest_has_dialled(host: CcHost) -> None:
    port = free_port()
    async with await host.agent(1) as agent:
        await host.connected(1)
        await host.ask(OpenTunnel(target="vm1", source=port, host="h", port=80))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"early" * 1000)
        writer.write_eof()
        await until(lambda: _is(any(message["type"] == "dial" for message in agent.seen)))
        await asyncio.sleep(0.3)
        early = [message["type"] for message in agent.seen if message.get("connection") == 2]
        assert early == ["dial"]
        agent.send(type="dialed", connection=2, error="")
        await until(lambda: _is(agent.seen[-1]["type"] == "shut"))
        assert b"".join(m["data"] for m in agent.seen if m["type"] == "carry") == b"early" * 1000
        writer.close()


async def test_many_connections_do_not_drown_a_guest_that_reads_slowly(host: CcHost) -> None:
    port = free_port()
    async with await host.agent(1) as agent:
        await host.connected(1)
        arrived: Counter[int] = Counter()

        def on_dial(message: dict[str, Any]) -> None:
            agent.send(type="dialed", connection=message["connection"], error="")

        def on_carry(message: dict[str, Any]) -> None:
            arrived[message["connection"]] += len(message["data"])
            agent.send(type="carried", connection=message["connection"], bytes=len(message["data"]))

        agent.on_dial, agent.on_carry = on_dial, on_carry  # type: ignore[attr-defined]
        await host.ask(OpenTunnel(target="vm1", source=port, host="h", port=80))
        writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(60)]
        for writer in writers:
            writer.write(b"x" * 500_000)
        await until(lambda: _is(sum(arrived.values()) == 60 * 500_000), 60.0)
        assert len(arrived) == 60
        assert agent.welcomes == 1
        for writer in writers:
            writer.close()


async def test_what_is_dialled_for_a_guest_only_the_server_decides(host: CcHost) -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.read(100))
        writer.write(b"answer")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, await host.agent(1) as agent:
        await host.connected(1)
        listens: list[int] = []

        def on_listen(message: dict[str, int]) -> None:
            listens.append(message["tunnel"])
            agent.send(type="listening", tunnel=message["tunnel"], error="")

        answers: list[bytes] = []
        agent.on_listen = on_listen  # type: ignore[attr-defined]
        agent.on_carry = lambda message: answers.append(message["data"])  # type: ignore[attr-defined]
        await host.ask(OpenTunnel(source=7777, host="127.0.0.1", port=port, reverse=True))
        agent.send(type="dial", connection=3, tunnel=99, host="127.0.0.1", port=port)
        await until(lambda: _is(any(m["type"] == "dialed" and m["error"] for m in agent.seen)))
        agent.send(type="dial", connection=1, tunnel=listens[0])
        await until(lambda: _is({"type": "dialed", "connection": 1, "error": ""} in agent.seen))
        agent.send(type="carry", connection=1, data=b"question")
        await until(lambda: _is(answers == [b"answer"]))
        assert served == [b"question"]
        agent.hang_up()
        await until(lambda: _is(len(listens) == 2))


async def test_a_port_that_is_taken_in_a_guest_is_said_to_be_with_its_name(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        await host.connected(1)

        def on_listen(message: dict[str, int]) -> None:
            agent.send(type="listening", tunnel=message["tunnel"], error="Address already in use")

        agent.on_listen = on_listen  # type: ignore[attr-defined]
        with pytest.raises(BusError, match="port 7777 in vm1: Address already in use"):
            await host.ask(OpenTunnel(source=7777, host="127.0.0.1", port=1, reverse=True))
        assert (await host.ask(GetTunnels(target="all"))).tunnels == ()
