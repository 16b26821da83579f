"""Files to guests and from them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.cc.decisions.commands import MAX_DELETED
from bus.errors import InvalidError
from bus.messages.cc import CommandKind, CommandSpec, CommandState, DeleteCommands, GetCommands, GetOutcomes
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import until


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        host.files.mkdir(exist_ok=True)
        yield host


def send(*files: str) -> CommandSpec:
    return CommandSpec(kind=CommandKind.SEND, files=files)


def receive(*files: str) -> CommandSpec:
    return CommandSpec(kind=CommandKind.RECEIVE, files=files)


async def _is(value: bool) -> bool:
    return value


async def test_files_directories_and_globs_are_sent(host: CcHost) -> None:
    (host.files / "some where" / "deep").mkdir(parents=True)
    (host.files / "some where" / "a b\nc").write_bytes(b"newline")
    (host.files / "some where" / "deep" / "empty").write_bytes(b"")
    (host.files / "some where" / "loop").symlink_to("..")
    big = os.urandom(1_000_000)
    (host.files / "big.bin").write_bytes(big)
    (host.files / "minibus-link").symlink_to("/etc/passwd")
    (host.files / "ns").mkdir()
    (host.files / "ns" / "own").write_bytes(b"of the namespace")
    (host.files / "own").write_bytes(b"of all")
    host.launch(2, namespace="ns")
    async with await host.agent(1) as agent, await host.agent(2) as other:
        await host.connected(1)
        await host.connected(1, "ns")
        number = (await host.post(send("some where", "*.bin"))).id
        row = (await host.outcomes(number))["vm1"]
        assert (row.state, row.error, row.files) == (CommandState.EXITED, "", 3)
        assert agent.files == {
            "/files/some where/a b\nc": b"newline",
            "/files/some where/deep/empty": b"",
            "/files/big.bin": big,
        }
        await host.outcomes((await host.post(send("own"), namespace="ns")).id, "ns")
        assert other.files == {"/files/own": b"of the namespace"}
        with pytest.raises(InvalidError, match="leads out of the file area"):
            await host.post(send("minibus-link"))
        (host.files / "minibus-link").unlink()
        await host.run("say")
        await host.outcomes(2)
        assert (await host.post(send("*"))).id == 3
        await host.outcomes(3)
        assert not any("miniccc_responses" in name for name in agent.files)


async def test_a_file_that_changes_is_sent_as_it_is_to_those_who_come_later(host: CcHost) -> None:
    (host.files / "x").write_bytes(b"one")
    async with await host.agent(1) as early:
        await host.connected(1)
        number = (await host.post(send("x"))).id
        await host.outcomes(number)
        (host.files / "x").write_bytes(b"two and more")
        async with await host.agent(2) as late:
            await host.outcomes_when(number, 2)
            assert (early.files["/files/x"], late.files["/files/x"]) == (b"one", b"two and more")
            (host.files / "x").unlink()
            async with await host.agent(3):
                row = (await host.outcomes_when(number, 3))["vm3"]
                assert row.state is CommandState.FAILED and "cannot read `x`" in row.error


async def test_files_come_back_whole_and_only_into_the_guests_own_directory(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        big = os.urandom(3_000_000)
        agent.files = {
            "/exitcode": b"of no program",
            "/var/log/a b": b"text",
            "/big": big,
            "/stdout": b"not output",
            "/empty": b"",
            "/nul\0": b"x",
            "/../../escape": b"x",
            "//x": b"x",
            "relative": b"x",
        }
        await host.connected(1)
        number = (await host.post(receive("/var/log/a b", "/big", "/stdout", "/empty"))).id
        row = (await host.outcomes(number))["vm1"]
        assert (row.state, row.files) == (CommandState.EXITED, 4)
        assert host.response(number, 1, "big").read_bytes() == big
        assert host.response(number, 1, "stdout").read_bytes() == b"not output"
        assert host.response(number, 1, "empty").read_bytes() == b""
        assert host.response(number, 1, "var/log/a b").stat().st_mode & 0o7777 == 0o640
        prefix = f"{number}/{uuid_of(1)}"
        number = (await host.post(receive("/exitcode"))).id
        await host.outcomes(number)
        assert await host.responses(str(number)) == {f"{number}/{uuid_of(1)}//exitcode": b"of no program"}
        number -= 1
        assert (await host.responses(str(number)))[f"{prefix}//big"] == big
        before = {path for path in host.files.rglob("*") if path.is_file()}
        for name in ("/../../escape", "//x", "relative"):
            number = (await host.post(receive(name))).id
            row = (await host.outcomes(number))["vm1"]
            assert row.state is CommandState.FAILED and "the name of a file" in row.error, row
        assert {path for path in host.base.rglob("*escape*")} == set()
        assert {path for path in host.files.rglob("*") if path.is_file()} == before


async def test_how_far_a_transfer_is(host: CcHost) -> None:
    sizes = (100_000, 1_000_000)
    for name, size in zip("ab", sizes, strict=True):
        (host.files / name).write_bytes(os.urandom(size))

    async def is_so(number: int, state: CommandState, files: int, moved: int) -> bool:
        (row,) = (await host.ask(GetOutcomes(id=number))).outcomes
        return (row.state, row.files, row.moved) == (state, files, moved)

    async with await host.agent(1) as agent:
        taking = agent.on_data
        agent.on_data = lambda message: taking(message) if message["stream"] == "file/0" else None  # type: ignore[method-assign]
        await host.connected(1)
        number = (await host.post(send("a", "b"))).id
        await until(lambda: is_so(number, CommandState.RUNNING, 1, sizes[0]))
        (command,) = (await host.ask(GetCommands(id=number))).commands
        assert (command.states, command.responses) == ({"running": 1}, 0)
        agent.on_data = taking  # type: ignore[method-assign]
        agent.hang_up()
        await until(lambda: is_so(number, CommandState.EXITED, 2, sum(sizes)))
        agent.files = {f"/{number}": bytes(size) for number, size in enumerate(sizes)}
        agent.give_only = set()
        number = (await host.post(receive(*agent.files))).id
        await until(lambda: is_so(number, CommandState.RUNNING, 0, 0))
        agent.give_only = {0}
        agent.hang_up()
        await until(lambda: is_so(number, CommandState.RUNNING, 1, sizes[0]))
        agent.give_only = None
        agent.hang_up()
        await until(lambda: is_so(number, CommandState.EXITED, 2, sum(sizes)))


async def test_transfers_go_on_where_they_were_after_a_crash(host: CcHost) -> None:
    big = os.urandom(5_000_000)
    (host.files / "big").write_bytes(big)
    async with await host.agent(1) as agent:
        agent.files["/from"] = big
        await host.connected(1)
        number = (await host.post(receive("/from"))).id
        await until(lambda: _is(agent.acked[1, "file/0"] > 500_000))
        await host.restart()
        assert (await host.outcomes_when(number, 1))["vm1"].files == 1
        assert host.response(number, 1, "from").read_bytes() == big
        sent = [m for m in agent.seen if m["type"] == "want" and m["stream"] == "file/0"]
        assert [m["offset"] > 0 for m in sent] == [False, True]
        number = (await host.post(send("big"))).id
        await until(lambda: _is(bool(agent.growing) and len(agent.growing[2, 0]) > 500_000))
        await host.restart()
        await host.outcomes_when(number, 1)
        assert agent.files["/files/big"] == big
        assert agent.ran == {1: 1, 2: 1}
        assert [path.name for path in host.files.rglob("*.partial/*")] == []


async def test_a_transfer_goes_on_after_a_restart_of_the_agent(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.files = {f"/{number}": os.urandom(300_000) for number in range(6)}
        agent.give_only = {0, 1}
        await host.connected(1)
        number = (await host.post(receive(*agent.files))).id
        await until(lambda: _is({(1, "file/0"), (1, "file/1")} <= set(agent.acked)))
        agent.records.clear()
        agent.acked.clear()
        agent.agent, agent.give_only = "another", None
        agent.hang_up()
        row = (await host.outcomes(number))["vm1"]
        assert (row.state, row.error, row.files) == (CommandState.EXITED, "", 6)
        for name, content in agent.files.items():
            assert host.response(number, 1, name.lstrip("/")).read_bytes() == content


async def test_transfers_of_commands_that_were_deleted_and_forgotten_end(host: CcHost) -> None:
    """Few deleted commands are remembered; a guest that is still at an older one must not be held up by it."""
    (host.files / "big").write_bytes(bytes(1_000_000))
    async with await host.agent(1) as agent:
        taking = agent.on_data
        agent.on_data = lambda message: None  # type: ignore[method-assign]
        agent.files, agent.give_only = {"/from": bytes(100_000), "/more": b"x"}, set()
        await host.connected(1)
        for spec in (send("big"), receive(*agent.files)):
            await host.post(spec)
        await until(lambda: _is({"want", "data"} <= {message["type"] for message in agent.seen}))
        last = [await host.run("x") for _ in range(MAX_DELETED + 2)][-1]
        await host.outcomes(last)
        await host.ask(DeleteCommands(target="all"))
        agent.on_data, agent.give_only = taking, None  # type: ignore[method-assign]
        agent.hang_up()
        await until(lambda: _is({1, 2} <= agent.confirmed))
        assert [agent.records[serial]["error"] for serial in (1, 2)] == ["the command is deleted"] * 2
        assert agent.welcomes == 2
        assert (await host.outcomes(await host.run("then")))["vm1"].state is CommandState.EXITED


async def test_more_files_of_one_guest_than_can_be_fetched(host: CcHost) -> None:
    """The guest has done nothing wrong, so its line stays and the command comes to an end."""
    async with await host.agent(1) as agent:
        agent.on_get = lambda message: agent.send(  # type: ignore[method-assign]
            type="file", serial=message["serial"], index=20_000, name="/x", size=1, mode=0o644, error=""
        )
        await host.connected(1)
        number = (await host.post(receive("/"))).id
        row = (await host.outcomes(number))["vm1"]
        assert row.state is CommandState.FAILED and row.error == "more than 20000 files cannot be fetched at once"
        assert agent.welcomes == 1


async def test_a_list_of_files_that_is_longer_than_a_line_may_keep(host: CcHost) -> None:
    """It goes out as the guest reads, what comes after it waits for it, and other guests wait for nothing."""
    names = [f"{'x' * 200}/{'y' * 200}/{'z' * 200}{number}" for number in range(6500)]
    (host.files / names[0]).parent.mkdir(parents=True)
    for name in names:
        (host.files / name).touch()
    async with await host.agent(1) as agent, await host.agent(2) as other:
        for guest in (agent, other):
            guest.arrived = {(1, index) for index in range(len(names))}
        await host.connected(2)
        agent.reads.clear()
        number = (await host.post(send("x" * 200))).id
        behind = await host.run("say")
        await until(lambda: _is(other.ran[behind] == 1))
        assert agent.ran == {}
        agent.reads.set()
        rows = await host.outcomes_when(behind, 2)
        assert {row.state for row in rows.values()} == {CommandState.EXITED}
        assert agent.welcomes == other.welcomes == 1
        for guest in (agent, other):
            assert sorted(entry["name"] for entry in guest.put[number]) == sorted(names)
