"""The client of the warden against a small server, and the warden's connections against a small client."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shims.container import connection as connection_module
from shims.container.client import WardenClient, WardenGoneError, WardenRefusedError
from shims.container.connection import Connection
from shims.container.loop import Loop
from shims.container.protocol import (
    MAX_PACKET,
    AnyAnswer,
    AnyCall,
    Containers,
    ContainerSpec,
    ContainerStatus,
    Created,
    Done,
    Exited,
    KeepConsole,
    ListContainers,
    Refused,
)

SPEC = ContainerSpec(guest_id=1, tag="ab2d", instance_dir="/i", filesystem="/f", hostname="h", uuid="u")
encode = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(AnyCall).decode
decode_answer = msgspec.msgpack.Decoder(AnyAnswer).decode


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Server:
    """One end of the socket, driven by the test."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self.sock: socket.socket | None = None

    async def accept(self, client: WardenClient) -> None:
        """Let `client` in."""
        await client.connect()
        self.sock, _ = self._listener.accept()
        self.sock.setblocking(False)

    async def call(self) -> AnyCall:
        """The next call."""
        assert self.sock is not None
        call: AnyCall = decode_call(
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, MAX_PACKET), 10)
        )
        return call

    def answer(self, answer: AnyAnswer, fd: int = -1) -> None:
        """Answer."""
        assert self.sock is not None
        socket.send_fds(self.sock, [encode(answer)], [fd] if fd >= 0 else [])

    def close(self) -> None:
        """Go away."""
        self._listener.close()
        if self.sock is not None:
            self.sock.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server."""
    server = Server(tmp_path / "s")
    yield server
    server.close()


class TestClient:
    """What the container actor uses."""

    async def test_answers_find_their_calls(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        first, second = (asyncio.ensure_future(client.start(guest_id)) for guest_id in (1, 2))
        calls = [await server.call(), await server.call()]
        server.answer(Refused(call=calls[1].call, message="no"))
        server.answer(Done(call=calls[0].call))
        await first
        with pytest.raises(WardenRefusedError, match=r"^no$"):
            await second
        client.close()

    async def test_a_descriptor_comes_along(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        creation = asyncio.ensure_future(client.create(SPEC))
        call = await server.call()
        with Path("/dev/null").open("rb") as null:
            server.answer(Created(call=call.call, guest_id=1, pid=5, start_ticks=6), null.fileno())
        created, fd = await creation
        assert (created.pid, Path(f"/proc/self/fd/{fd}").readlink()) == (5, Path("/dev/null"))
        assert not os.get_inheritable(fd)
        os.close(fd)
        client.close()

    async def test_a_descriptor_for_nobody_is_closed(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        creation = asyncio.ensure_future(client.create(SPEC))
        call = await server.call()
        creation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await creation
        before = descriptors()
        with Path("/dev/null").open("rb") as null:
            server.answer(Created(call=call.call, guest_id=1, pid=5, start_ticks=6), null.fileno())
        listing = asyncio.ensure_future(client.list())
        call = await server.call()
        server.answer(Containers(call=call.call, containers=()))
        await listing
        assert descriptors() == before
        client.close()

    async def test_a_list_in_parts_and_a_notice_between(self, server: Server, tmp_path: Path) -> None:
        seen: list[Exited] = []
        client = WardenClient(tmp_path / "s", on_exited=seen.append)
        await server.accept(client)
        listing = asyncio.ensure_future(client.list())
        call = await server.call()
        parts = [ContainerStatus(guest_id=number, pid=1, start_ticks=1, state="running") for number in range(3)]
        server.answer(Containers(call=call.call, containers=(parts[0], parts[1]), more=True))
        server.answer(Exited(guest_id=9, exit="exit status 0", clean=True))
        server.answer(Containers(call=call.call, containers=(parts[2],)))
        assert await listing == tuple(parts)
        assert [exited.guest_id for exited in seen] == [9]
        client.close()

    async def test_the_end_of_the_warden(self, server: Server, tmp_path: Path) -> None:
        gone: list[bool] = []
        client = WardenClient(tmp_path / "s", on_gone=lambda: gone.append(True))
        await server.accept(client)
        killing = asyncio.ensure_future(client.kill(1))
        await server.call()
        server.close()
        with pytest.raises(WardenGoneError, match="is lost"):
            await killing
        assert gone == [True]
        assert not client.is_connected
        with pytest.raises(WardenGoneError, match="no connection"):
            await client.kill(1)
        with pytest.raises(WardenGoneError, match="no warden listens"):
            await client.connect()
        client.close()

    async def test_rubbish_ends_the_connection(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        listing = asyncio.ensure_future(client.list())
        await server.call()
        assert server.sock is not None
        server.sock.send(b"\xc1")
        with pytest.raises(WardenGoneError):
            await listing

    async def test_more_calls_than_the_socket_holds(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        count = 3000
        calls = [asyncio.ensure_future(client.forget(number)) for number in range(count)]
        await asyncio.sleep(0)
        for _ in range(count):  # in order, although most of them had to wait
            server.answer(Done(call=(await server.call()).call))
        await asyncio.wait_for(asyncio.gather(*calls), 10)
        client.close()

    async def test_a_description_too_long(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        with pytest.raises(WardenRefusedError, match="longer than"):
            await client.create(msgspec.structs.replace(SPEC, init=("x" * MAX_PACKET,)))
        client.close()

    async def test_a_terminal_is_given_back(self, server: Server, tmp_path: Path) -> None:
        client = WardenClient(tmp_path / "s")
        await server.accept(client)
        assert server.sock is not None
        before = descriptors()
        with Path("/dev/null").open("rb") as null:
            giving = [asyncio.ensure_future(client.keep_console(number, null.fileno())) for number in range(2000)]
            got = 0
            while got < len(giving):
                await asyncio.sleep(0)
                with contextlib.suppress(BlockingIOError):
                    data, fds, _, _ = socket.recv_fds(server.sock, MAX_PACKET, 2)
                    call = decode_call(data)
                    assert isinstance(call, KeepConsole)
                    assert call.guest_id == got
                    assert [os.path.samestat(os.fstat(fd), os.fstat(null.fileno())) for fd in fds] == [True]
                    os.close(fds[0])
                    server.answer(Done(call=call.call))
                    got += 1
            await asyncio.gather(*giving)
        assert descriptors() == before
        giving = [asyncio.ensure_future(client.keep_console(number, 0)) for number in range(2000)]
        await asyncio.sleep(0)
        client.close()
        await asyncio.gather(*giving, return_exceptions=True)
        assert descriptors() == before - 1, "what could not be sent is closed, and so is the connection"


class TestConnection:
    """The warden's side, on its own loop."""

    @pytest.fixture
    def ends(self) -> Iterator[tuple[Loop, Connection, socket.socket, list[AnyCall]]]:
        """A loop, a connection on it, the client's end, and the calls that came."""
        loop, calls = Loop(), list[AnyCall]()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection = Connection(ours, loop, lambda _, call: calls.append(call), lambda _: None)
        yield loop, connection, theirs, calls
        connection.close()
        theirs.close()
        loop.close()

    def test_a_slow_reader_gets_everything_in_order(
        self, ends: tuple[Loop, Connection, socket.socket, list[AnyCall]]
    ) -> None:
        loop, connection, theirs, _ = ends
        count = 2000
        with Path("/dev/null").open("rb") as null:
            for number in range(count):
                connection.send(Done(call=number), null.fileno() if number % 100 == 0 else -1)
        theirs.settimeout(0)
        seen: list[int] = []
        fds = array.array("i")
        while len(seen) < count:
            try:
                data, ancillary, _, _ = theirs.recvmsg(4096, socket.CMSG_SPACE(4))
            except BlockingIOError:
                loop.call_later(0.01, lambda: None)
                loop.run_once()
                continue
            answer = decode_answer(data)
            assert isinstance(answer, Done)
            seen.append(answer.call)
            for _, _, rights in ancillary:
                fds.frombytes(rights)
        for fd in fds:
            os.close(fd)
        assert seen == list(range(count))
        assert len(fds) == count // 100

    def test_one_that_never_reads_is_cut_off(
        self, ends: tuple[Loop, Connection, socket.socket, list[AnyCall]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, connection, _, _ = ends
        monkeypatch.setattr(connection_module, "MAX_QUEUED", 10)
        number = 0
        while connection.is_open:
            connection.send(Done(call=number))
            number += 1
            assert number < 100_000
        connection.send(Done(call=0))  # harmless

    def test_calls_arrive(self, ends: tuple[Loop, Connection, socket.socket, list[AnyCall]]) -> None:
        loop, connection, theirs, calls = ends
        for number in range(100):
            theirs.send(encode(ListContainers(call=number)))
        while len(calls) < 100:
            loop.run_once()
        assert [call.call for call in calls] == list(range(100))
        theirs.close()
        loop.run_once()
        assert not connection.is_open

    def test_a_descriptor_comes_with_its_call_and_is_closed_unless_it_is_taken(self) -> None:
        loop, taken = Loop(), list[int]()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def handle(connection: Connection, call: AnyCall) -> None:
            taken.append(connection.take_descriptor() if call.call % 2 else 0)

        connection = Connection(ours, loop, handle, lambda _: None)
        before = descriptors()
        with Path("/dev/null").open("rb") as null:
            for number in range(4):
                attached = [null.fileno()] * (number if number < 3 else 0)
                socket.send_fds(theirs, [encode(KeepConsole(call=number, guest_id=1))], attached)
            while len(taken) < 4:
                loop.run_once()
        assert [fd > 0 for fd in taken] == [False, True, False, False]
        assert taken[3] == -1
        assert os.path.samestat(os.fstat(taken[1]), Path("/dev/null").stat())
        os.close(taken[1])
        assert descriptors() == before
        socket.send_fds(theirs, [b"no call"], [ours.fileno()])
        loop.run_once()
        assert not connection.is_open
        theirs.close()
        loop.close()
