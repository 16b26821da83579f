"""Commands to guests, with agents that are played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus import codec
from bus.errors import BusError, InvalidError, NotFoundError
from bus.messages.cc import (
    CommandKind,
    CommandOutput,
    CommandSpec,
    CommandState,
    DeleteCommands,
    DeleteResponses,
    EndCc,
    GetCommands,
    GetOutcomes,
    GuestFilter,
    SetFilter,
    SignalCommand,
)
from bus.messages.vm import VmState
from tests.integration.cc_agent import Agent
from tests.integration.cc_host import CcHost, cc_host, uuid_of
from tests.integration.processes import serves, until


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[CcHost]:
    async with cc_host(base_dir) as host:
        yield host


async def test_a_program_runs_in_each_guest_and_what_it_says_comes_back(host: CcHost) -> None:
    async with await host.agent(1) as one, await host.agent(2) as two:
        await host.connected(2)
        number = await host.run("echo", "hello")
        rows = await host.outcomes(number)
        assert {name: (row.state, row.code, row.stdout) for name, row in rows.items()} == {
            "vm1": (CommandState.EXITED, 0, 11),
            "vm2": (CommandState.EXITED, 0, 11),
        }
        assert one.ran == two.ran == {1: 1}
        assert host.response(1, 1).read_bytes() == b"echo hello\n"
        assert host.response(1, 1, "exitcode").read_text() == "0"
        assert await host.responses("all") == {
            f"1/{uuid_of(1)}/stdout": b"echo hello\n",
            f"1/{uuid_of(2)}/stdout": b"echo hello\n",
        }


async def test_what_is_listed_reaches_those_who_come_later_and_nobody_twice(host: CcHost) -> None:
    number = await host.run("echo", "early")
    async with await host.agent(1) as agent:
        assert (await host.outcomes_when(number, 1))["vm1"].state is CommandState.EXITED
        for _ in range(3):
            agent.hang_up()
            await until(lambda: _is(agent.welcomes > 1))
            await host.connected(1)
            agent.welcomes = 1
        assert agent.ran == {1: 1}
        for reborn in (True, False):
            agent.agent = f"other{reborn}"
            agent.hang_up()
            await until(lambda: _is(agent.welcomes > 1))
            agent.welcomes = 1
        assert agent.ran == {1: 1}


async def test_after_a_restart_of_the_guest_all_but_once_commands_are_done_again(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        await host.connected(1)
        every = await host.run("echo", "every")
        once = await host.run("echo", "once", once=True)
        await host.outcomes(once)
        agent.boot = "boot2"
        agent.records.clear()
        agent.output.clear()
        agent.hang_up()
        await until(lambda: _is(agent.ran == {1: 2, 2: 1}))
        assert (await host.outcomes(every))["vm1"].state is CommandState.EXITED
        assert host.response(every, 1).read_bytes() == b"echo every\n"
        assert host.response(once, 1).read_bytes() == b"echo once\n"


async def test_a_filter_follows_the_facts(host: CcHost) -> None:
    async with await host.agent(1) as one, await host.agent(2) as two:
        await host.connected(2)
        wanted = GuestFilter(ip="192.168.0.0/24", tags=(("role", "web"),))
        spec = CommandSpec(kind=CommandKind.EXEC, argv=("true",))
        posted = await host.post(spec, wanted=wanted)
        assert posted.guests == 0 and "no guest matches" in posted.warning
        host.change(1, tags={"role": "web"})
        one.send(type="facts", hostname="g", ips=["192.168.0.7"], macs=["AA:BB:CC:00:11:22"])
        await until(lambda: _is(one.ran == {1: 1}))
        two.send(type="facts", hostname="g", ips=["192.168.0.8"], macs=[])
        two.send(type="tag", number=7, key="role", value="web")
        await until(lambda: _is(two.ran == {1: 1}))
        assert {"type": "tagged", "number": 7, "error": ""} in two.seen
        assert (await host.post(spec, wanted=GuestFilter(mac="aa:bb:cc:00:11:22"))).guests == 1
        assert (await host.post(spec, wanted=GuestFilter(columns=(("name", "vm2"),)))).guests == 1


async def test_an_agent_that_died_with_a_program_leaves_an_unknown_outcome(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("sleep")
        await until(lambda: _is(agent.ran == {1: 1}))
        agent.records.clear()
        agent.agent = "another"
        agent.hang_up()
        row = (await host.outcomes(number))["vm1"]
        assert row.state is CommandState.UNKNOWN and "restarted" in row.error
        assert agent.ran == {1: 1}


async def test_programs_in_the_background_hold_nobody_up(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        for _ in range(80):
            await host.run("daemon", background=True)
        await until(lambda: _is(len(agent.ran) == 80))
        agent.hang_up()
        await until(lambda: _is(agent.welcomes == 2))
        number = await host.run("then")
        await until(lambda: _is(agent.ran[number] == 1))
        assert (await host.outcomes(1))["vm1"].state is CommandState.RUNNING  # an answer all the same


async def test_a_signal_ends_what_runs_and_takes_back_what_waits(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        host.launch(2)
        number = await host.run("sleep")
        await until(lambda: _is(agent.ran == {1: 1}))
        await until(lambda: _counts(host, number, {"running": 1, "waiting": 1}))
        await host.ask(SignalCommand(id=number, signal=9))
        rows = await host.outcomes(number)
        assert (rows["vm1"].state, rows["vm1"].code) == (CommandState.SIGNALED, 9)
        assert host.response(number, 1, "exitcode").read_text() == "137"
        assert rows["vm2"].state is CommandState.KILLED
        async with await host.agent(2) as late:
            await host.connected(2)
            assert not late.ran


async def test_nothing_is_kept_of_what_a_guest_never_began(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.on_run = lambda message: agent.end(message["serial"], "killed", 15)  # type: ignore[method-assign]
        await host.connected(1)
        number = await host.run("never")
        assert (await host.outcomes(number))["vm1"].state is CommandState.KILLED
        assert not host.response(number, 1).parent.exists()


async def test_deleted_commands_go_on_where_they_run_and_ids_begin_anew(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("first")
        await until(lambda: _is(agent.acked[1, "stdout"] > 0))
        await host.ask(DeleteCommands(target="all"))
        assert (await host.ask(GetCommands())).commands == ()
        agent.hold.set()
        await until(lambda: _is(1 in agent.confirmed))
        assert host.response(number, 1).read_bytes() == b"first\n"
        assert await host.run("second") == 1
        await host.outcomes(1)
        assert host.response(1, 1).read_bytes() == b"second\n"
        (kept,) = host.files.glob("miniccc_responses.*")
        assert (kept / "1" / uuid_of(1) / "stdout").read_bytes() == b"first\n"
        assert agent.ran == {1: 1, 2: 1}


async def test_responses_that_are_deleted_while_a_program_runs_begin_anew(host: CcHost) -> None:
    async with await host.agent(1, program=lambda run: (b"a" * 100 + b"b" * 100, b"", 0)) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("x")
        await until(lambda: _is(agent.acked[1, "stdout"] == 100))
        await host.ask(DeleteResponses(target=str(number)))
        assert not host.response(number, 1).exists()
        (row,) = (await host.ask(GetOutcomes(id=number))).outcomes
        assert (row.state, row.stdout) == (CommandState.RUNNING, 100)
        await host.restart()
        agent.hold.set()
        assert (await host.outcomes_when(number, 1))["vm1"].stdout == 200
        assert host.response(number, 1).read_bytes() == b"b" * 100


async def test_responses_that_are_deleted_while_the_guest_is_away_begin_anew(host: CcHost) -> None:
    async with await host.agent(1, program=lambda run: (b"a" * 100 + b"b" * 100, b"", 0)) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("x")
        await until(lambda: _is(agent.acked[1, "stdout"] == 100))
        where, agent.where = agent.where, host.base / "nowhere"
        agent.hang_up()
        await host.connected(0)
        await host.ask(DeleteResponses(target="all"))
        assert not host.response(number, 1).exists()
        agent.hold.set()
        agent.where = where
        await host.outcomes_when(number, 1)
        assert host.response(number, 1).read_bytes() == b"b" * 100


async def test_output_is_published_after_it_was_written(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        subscription = await host.port.subscribe(f"cc/minimega/{uuid_of(1)}/")
        await host.connected(1)
        await host.outcomes(await host.run("hello"))
        seen: list[str] = []
        while not seen or not seen[-1].endswith("done/"):
            delivery = await asyncio.wait_for(subscription.next(), 10)
            seen.append(delivery.topic)
            body = codec.decode_body(delivery.body)
            if isinstance(body, CommandOutput):
                assert (body.data, body.offset) == (b"hello\n", 0)
        prefix = f"cc/minimega/{uuid_of(1)}"
        assert [topic.removeprefix(prefix) for topic in seen] == [
            "/connected/",
            "/1/started/",
            "/1/stdout/",
            "/1/done/",
        ]
        assert agent.ran == {1: 1}


async def test_bad_commands_are_refused_in_a_sentence(host: CcHost) -> None:
    for spec, sentence in (
        (CommandSpec(kind=CommandKind.EXEC), "which program?"),
        (CommandSpec(kind=CommandKind.EXEC, argv=("a\0b",)), "NUL"),
        (CommandSpec(kind=CommandKind.EXEC, argv=("x" * 200_000,)), "longer than"),
        (CommandSpec(kind=CommandKind.EXEC, argv=("x",), timeout_s=-1), "seconds"),
        (CommandSpec(kind=CommandKind.KILL, pid=-5), "invalid PID"),
        (CommandSpec(kind=CommandKind.LEVEL, level="loud"), "is no level"),
        (CommandSpec(kind=CommandKind.PROBE, protocol="tcp", host="h", port=0), "is no port"),
        (CommandSpec(kind=CommandKind.RECEIVE), "which files?"),
        (CommandSpec(kind=CommandKind.SEND, files=("nothing",)), "no such file: nothing"),
        (CommandSpec(kind=CommandKind.SEND, files=("/etc/passwd",)), "can only send files from"),
        (CommandSpec(kind=CommandKind.SEND, files=("../minibus",)), "can only send files from"),
    ):
        with pytest.raises(BusError, match=sentence):
            await host.post(spec)
    with pytest.raises(InvalidError, match="neither an IP address"):
        await host.ask(SetFilter(filter=GuestFilter(ip="10.0.0")))
    with pytest.raises(NotFoundError, match="command 7 not found"):
        await host.ask(GetOutcomes(id=7))
    with pytest.raises(NotFoundError, match="no such prefix: `x`"):
        await host.ask(DeleteCommands(target="x"))
    with pytest.raises(NotFoundError, match="no responses for 3"):
        await host.responses("3")
    assert await host.responses("all") == {}


async def test_vms_without_a_backchannel_and_with_a_uuid_of_another_namespace(host: CcHost) -> None:
    host.launch(1, backchannel=False)
    path_a = host.launch(2, namespace="a", uuid=uuid_of(9))
    path_b = host.launch(3, namespace="b", uuid=uuid_of(9))
    async with Agent(path_a, "whatever it says") as one, Agent(path_b, uuid_of(9)) as two:
        await host.connected(1, "a")
        await host.connected(1, "b")
        await host.outcomes(await host.run("x", namespace="a"), "a")
        assert (one.ran, two.ran) == ({1: 1}, {})
        assert (host.files / "a" / "miniccc_responses" / "1" / uuid_of(9) / "stdout").read_bytes() == b"x\n"
        await host.ask(EndCc(), "a")
        assert (await host.ask(GetCommands(), "a")).commands == ()
        await host.connected(1, "a")
        await host.run("y", namespace="a")
        await until(lambda: _is(one.ran[1] == 2))
        (kept,) = (host.files / "a").glob("miniccc_responses.*")
        assert (kept / "1" / uuid_of(9) / "stdout").read_bytes() == b"x\n"
    assert not (host.base / "1" / "cc").exists()


async def test_a_vm_that_ends_closes_its_line_and_what_ran_is_unknown(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("x")
        await until(lambda: _is(agent.ran == {1: 1}))
        host.change(1, state=VmState.QUIT)
        row = (await host.outcomes(number))["vm1"]
        assert (row.state, row.error) == (CommandState.UNKNOWN, "the VM has ended")
        await until(lambda: _is(not agent_socket(host, 1).exists()))
        host.flush(1)
        await host.connected(0)
        assert (await host.outcomes(number))["vm1"].state is CommandState.UNKNOWN


async def test_an_end_of_the_actor_is_not_held_up_by_those_who_wait(host: CcHost) -> None:
    async with await host.agent(1) as agent:
        agent.hold.clear()
        await host.connected(1)
        number = await host.run("x")
        waiting = asyncio.create_task(host.ask(GetOutcomes(id=number, wait=True)))
        await until(lambda: _is(agent.ran == {1: 1}))
        host.processes["cc"].terminate()
        with pytest.raises(BusError) as error:
            await waiting
        assert error.value.retryable
        assert await asyncio.to_thread(host.processes["cc"].wait, 10) == 0
        host.start("cc")
        await serves(host.port, "cc")
        agent.hold.set()
        assert (await host.outcomes_when(number, 1))["vm1"].state is CommandState.EXITED
        assert agent.ran == {1: 1}


def agent_socket(host: CcHost, vm_id: int) -> Path:
    """Where the agent of a VM connects."""
    return host.base / str(vm_id) / "cc" / "cc"


async def _is(value: bool) -> bool:
    return value


async def _counts(host: CcHost, number: int, states: dict[str, int]) -> bool:
    (command,) = (await host.ask(GetCommands(id=number))).commands
    return command.states == states
