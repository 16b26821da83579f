"""The command socket, with real sockets and clients; only the bus behind it is a stand-in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bus.errors import InvalidError
from bus.messages.base import Ack, Message
from bus.messages.cc import CommandList, CommandState, GetCommands, GetConnectedGuests, GetOutcomes, Outcome, Outcomes
from bus.messages.control import Nuke, StopNode
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import DestroyNamespace, DestroyReport, GetDraft, GetNamespaces, NamespaceList
from bus.messages.network import Bridges, GetBridges, GetInterfaces
from bus.messages.pipe import LeavePipe, ReadPipe
from bus.messages.vlan import GetVlans
from bus.messages.vm import GetVms
from cli.server.connection import MAX_UNSENT, Connection
from tests.unit.cli.stand_ins import Asked, make_vms, serving

BESIDE = (GetConnectedGuests, GetInterfaces, GetVlans)
"""What `vm info` asks beside its own question."""


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


async def test_progress_is_not_held_back(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.cc.outcomes.TURN_S", 0.0)
    release = asyncio.Event()
    questions = 0

    async def answer(asked: Asked) -> Message:
        nonlocal questions
        questions += 1
        if questions > 1:
            await release.wait()
        state = CommandState.EXITED if release.is_set() else CommandState.RUNNING
        return Outcomes(id=1, outcomes=(Outcome(uuid="u", vm="web", state=state),), done=release.is_set())

    async with serving(base_dir, {GetOutcomes: answer, GetCommands: CommandList(commands=())}) as server:
        for prefix in ("", ".csv true "):
            release.clear()
            questions = 0
            async with server.client() as client:
                await client.send({"Command": f"{prefix}cc wait 1"})
                first = await client.receive()
                assert (first["Rendered"], first["More"]) == ("n1: 0 of 1 guests are done", True)
                release.set()
                last = await client.receive()
                assert "exited" in last["Rendered"] and not last["More"]


async def test_a_line_of_a_script_does_not_change_how_the_one_before_it_looks(base_dir: Path) -> None:
    script = base_dir / "script"
    script.write_text("echo a\n.annotate false\necho b\n.json true\necho c\n.json false\necho d\n")
    async with serving(base_dir) as server, server.client() as client:
        await client.send({"Command": f"read {script}"})
        shown = [(await client.receive())["Rendered"] for _ in range(7)]
    assert [text for text in shown if not text.startswith("[")] == ["n1: a", "", "b", "", "d"]
    assert shown[3].startswith("[") and '"Response":"c"' in shown[4]


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
        assert [asked.namespace for asked in server.bus.asked if not isinstance(asked.request, BESIDE)] == [
            "exp",
            "exp",
            "minimega",
        ]
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
        return make_vms(1)

    script = base_dir / "script"
    script.write_text("vm info\nvm config\n")
    async with serving(base_dir, {GetVms: slow}) as server:
        async with server.client() as client:
            await client.send({"Command": f"read {script}"})
            await arrived.wait()
        leave.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*server.tasks)
        requests = [type(asked.request) for asked in server.bus.asked if not isinstance(asked.request, BESIDE)]
        assert requests == [GetVms, GetDraft]  # it went on to its end


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
        return make_vms(1)

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
        looked = [asked.namespace for asked in server.bus.asked if isinstance(asked.request, GetVms)]
        assert sorted(looked) == sorted(f"exp-{n}" for n in range(300))


async def test_quit_closes_without_a_reply(base_dir: Path) -> None:
    reactions: dict[type[Message], Any] = {GetNamespaces: NamespaceList(namespaces=()), StopNode: Ack()}
    reactions |= {KillDnsmasqs: Ack(), GetBridges: Bridges()}
    async with serving(base_dir, {**reactions, DestroyNamespace: DestroyReport()}) as server, server.client() as client:
        await client.send({"Command": "quit"})
        assert await client.is_closed()
        assert type(server.bus.asked[-1].request) is StopNode


async def test_quit_that_cannot_end_the_guests_stops_nothing(base_dir: Path) -> None:
    reactions: dict[type[Message], Any] = {GetNamespaces: NamespaceList(namespaces=()), StopNode: Ack()}
    async with serving(base_dir, reactions) as server, server.client() as client:
        assert "nobody here knows DestroyNamespace" in (await client.command("quit"))["Resp"][0]["Error"]
        assert StopNode not in {type(asked.request) for asked in server.bus.asked}


async def test_nuke_closes_without_a_reply(base_dir: Path) -> None:
    async with serving(base_dir, {Nuke: Ack()}) as server, server.client() as client:
        await client.send({"Command": "nuke"})
        assert await client.is_closed()
        assert [(asked.to, type(asked.request)) for asked in server.bus.asked] == [("node", Nuke)]


async def test_nuke_that_cannot_be_begun_says_why(base_dir: Path) -> None:
    async with serving(base_dir, {Nuke: InvalidError("cannot start it")}) as server, server.client() as client:
        assert (await client.command("nuke"))["Resp"][0]["Error"] == "cannot start it"


async def test_a_pipe_that_cannot_be_attached_to_is_refused_in_words(base_dir: Path) -> None:
    refused = InvalidError("the name of a pipe cannot contain `/`")
    async with serving(base_dir, {ReadPipe: refused, LeavePipe: Ack()}) as server, server.client() as client:
        await client.send({"PlumbPipe": "a/b"})
        assert (await client.receive())["Resp"][0]["Error"] == str(refused)
        assert await client.is_closed()
