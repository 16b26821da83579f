"""The `cc` commands about how far guests are: tables, waiting, ending."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bus.errors import NotFoundError, UnreachableError
from bus.messages.cc import (
    ClientInfo,
    ClientList,
    CommandInfo,
    CommandKind,
    CommandList,
    CommandSpec,
    CommandState,
    Outcome,
    Outcomes,
    SignalCommand,
)
from tests.unit.cli.commands.cc.answers import bench

# ---------------------------------------------------------------- how commands ended


async def test_outcomes_of_each_guest() -> None:
    response = await bench().one("cc outcomes 3")
    assert response.header == (
        *("vm", "uuid", "state", "code", "started", "ended", "stdout", "stderr", "files", "moved", "error"),
    )
    assert response.rows is not None
    assert [row[:4] for row in response.rows] == [
        ("web", "u1", "exited", "7"),
        ("db", "u2", "signaled", "9"),
        ("off", "u3", "failed", ""),
        ("slow", "u4", "running", ""),
        ("late", "u5", "timeout", ""),
    ]
    assert response.rows[0][4].startswith("1970-01-01") and response.rows[1][4:6] == ("", "")
    assert response.rows[2][6:] == ("0", "0", "0", "0", "nonesuch: not\\x1b found")
    assert response.data["outcomes"][0]["code"] == 7


@pytest.mark.parametrize(
    ("vm", "text", "error"),
    [
        ("web", "7", ""),
        ("U1", "7", ""),
        ("db", "137", ""),
        ("twin", "137", ""),
        ("off", "-1", ""),
        ("late", "-1", ""),
        ("slow", "", "there is no exit code: the command is running in slow"),
        ("nobody", "", "command 3 is not for a guest `nobody`"),
    ],
)
async def test_exit_codes(vm: str, text: str, error: str) -> None:
    response = await bench().one(f"cc exitcode 3 {vm}")
    assert (response.text, response.error) == (text, error)


async def test_a_hostname_that_several_have_is_nobodys() -> None:
    twins = ClientList(clients=(ClientInfo(uuid="u1", hostname="twin"), ClientInfo(uuid="u2", hostname="twin")))
    assert await bench(GetClients=twins).error("cc exitcode 3 twin") == "command 3 is not for a guest `twin`"
    gone = bench(GetClients=UnreachableError("nobody is at cc"))
    assert await gone.text("cc exitcode 3 web") == "7"


def told(*states: CommandState, done: bool) -> Outcomes:
    return Outcomes(
        id=3,
        outcomes=tuple(Outcome(uuid=f"u{at}", vm=f"v{at}", state=state) for at, state in enumerate(states)),
        done=done,
    )


def in_turn(*answers: Outcomes) -> Any:
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


WAITING, RUNNING, EXITED = CommandState.WAITING, CommandState.RUNNING, CommandState.EXITED


async def test_waiting_tells_how_far_it_is_and_then_how_each_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.cc.outcomes.TURN_S", 0.0)
    turns = in_turn(
        told(WAITING, RUNNING, done=False),
        told(RUNNING, RUNNING, done=False),
        told(EXITED, RUNNING, done=False),
        told(EXITED, EXITED, done=True),
    )
    groups = await bench(GetOutcomes=turns).run("cc wait 3 1h")
    *progress, last = [response for group in groups for response in group.responses]
    assert [response.text for response in progress] == ["0 of 2 guests are done", "1 of 2 guests are done"]
    assert last.rows is not None and not last.error
    assert [row[:3] for row in last.rows] == [("v0", "u0", "exited"), ("v1", "u1", "exited")]


async def test_waiting_ends_at_its_deadline() -> None:
    groups = await bench(GetOutcomes=told(EXITED, RUNNING, done=False)).run("cc wait 3 100ms")
    last = groups[-1].responses[0]
    assert last.error == "after 100ms, 1 of 2 guests are not done: v1"
    assert last.rows is not None and len(last.rows) == 2


async def test_guests_whose_agents_are_not_connected_are_waited_for_as_long_as_is_said() -> None:
    absent = msgspec.structs.replace(told(EXITED, WAITING, done=True), absent=1)
    last = await bench(GetOutcomes=absent).one("cc wait 3")
    assert last.error == "1 of 2 guests are not done and their agents not connected: v1"
    assert last.rows is not None and len(last.rows) == 2
    assert await bench(GetOutcomes=absent).error("cc wait 3 1ms") == "after 1ms, 1 of 2 guests are not done: v1"
    many = msgspec.structs.replace(told(*[WAITING] * 7, done=False), absent=7)
    assert (await bench(GetOutcomes=many).error("cc wait 3 1ms")).endswith(": v0, v1, v2, v3, v4 and 2 more")
    last = await bench(GetOutcomes=in_turn(absent, told(EXITED, EXITED, done=True))).one("cc wait 3 1h")
    assert (last.error, len(last.rows or ())) == ("", 2)


async def test_a_program_in_the_background_has_only_to_begin() -> None:
    background = CommandInfo(id=3, command=CommandSpec(kind=CommandKind.EXEC, argv=("x",), background=True))
    engine = bench(
        GetCommands=CommandList(commands=(background,)),
        GetOutcomes=told(WAITING, RUNNING, done=False),
    )
    assert (await engine.run("cc wait 3 1ms"))[-1].responses[0].error == "after 1ms, 1 of 2 guests are not done: v0"


async def test_waiting_bears_a_server_that_is_started_again() -> None:
    turns: list[Any] = [UnreachableError("nobody is at cc"), told(EXITED, done=True)]
    engine = bench(GetOutcomes=lambda asked: turns.pop(0) if len(turns) > 1 else turns[0])
    (group,) = await engine.run("cc wait 3")
    assert [row[2] for row in group.responses[0].rows or ()] == ["exited"]


async def test_waiting_for_what_there_is_not() -> None:
    assert await bench(GetCommands=NotFoundError("command 3 not found")).error("cc wait 3") == "command 3 not found"


# ---------------------------------------------------------------- several at once


def prefixed(*prefixes: str) -> CommandList:
    """Commands of the list, numbered from 1."""
    spec = CommandSpec(kind=CommandKind.EXEC, argv=("x",))
    return CommandList(
        commands=tuple(CommandInfo(id=at, prefix=name, command=spec) for at, name in enumerate(prefixes, 1))
    )


def of_each(asked: Any) -> Outcomes:
    """Each has been done by one guest, but the second, which nobody has."""
    number = asked.request.id
    state = WAITING if number == 2 else EXITED
    return Outcomes(id=number, outcomes=(Outcome(uuid="u", vm=f"v{number}", state=state),), done=number != 2)


@pytest.mark.parametrize(("target", "ids"), [("a", ["1", "3"]), ("all", ["1", "2", "3"])])
async def test_outcomes_of_several_say_of_which(target: str, ids: list[str]) -> None:
    engine = bench(GetCommands=prefixed("a", "b", "a"), GetOutcomes=of_each)
    response = await engine.one(f"cc outcomes {target}")
    assert response.header is not None and response.header[:2] == ("id", "vm")
    assert [row[:2] for row in response.rows or ()] == [(number, f"v{number}") for number in ids]
    assert [entry["id"] for entry in response.data] == [int(number) for number in ids]


async def test_several_are_waited_for_and_have_their_time_together() -> None:
    engine = bench(GetCommands=prefixed("a", "b", "a"), GetOutcomes=of_each)
    (group,) = await engine.run("cc wait a 1h")
    assert not group.responses[0].error and len(group.responses[0].rows or ()) == 2
    last = (await engine.run("cc wait all 50ms"))[-1].responses[0]
    assert last.error == "command 2: after 50ms, 1 of 1 guests are not done: v2"
    assert [row[0] for row in last.rows or ()] == ["1", "2", "3"]
    everything = bench(GetCommands=prefixed("", ""), GetOutcomes=told(WAITING, done=False))
    assert (await everything.run("cc wait all 1ms"))[-1].responses[0].error == (
        "command 1: after 1ms, 1 of 1 guests are not done: v0; 1 more of the commands are not done"
    )


async def test_several_are_ended() -> None:
    engine = bench(GetCommands=prefixed("a", "b", "a"))
    assert await engine.text("cc signal a KILL") == ""
    ended = [asked.request for asked in engine.bus.asked if isinstance(asked.request, SignalCommand)]
    assert ended == [SignalCommand(id=1, signal=9), SignalCommand(id=3, signal=9)]


@pytest.mark.parametrize("line", ["cc wait c", "cc outcomes c", "cc signal c"])
async def test_a_prefix_that_none_has(line: str) -> None:
    assert await bench(GetCommands=prefixed("a")).error(line) == "no such prefix: `c`"
    assert (await bench(GetCommands=prefixed()).one(line.replace(" c", " all"))).error == ""


async def test_waiting_tells_what_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.cc.outcomes.TURN_S", 0.0)

    def sent(mib: int, *, done: bool) -> Outcomes:
        state = EXITED if done else RUNNING
        return Outcomes(id=3, outcomes=(Outcome(uuid="u", vm="v", state=state, moved=mib << 20),), done=done)

    turns = in_turn(*(sent(mib, done=False) for mib in (0, 1, 1, 2)), sent(3, done=True))
    groups = await bench(GetOutcomes=turns).run("cc wait 3")
    assert [group.responses[0].text for group in groups[:-1]] == [
        "0 of 1 guests are done",
        "0 of 1 guests are done, 1.0 MiB of files have arrived",
        "0 of 1 guests are done, 2.0 MiB of files have arrived",
    ]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("cc wait n", ["cc wait net "]),
        ("cc responses a", ["cc responses all "]),
        ("cc signal 1", ["cc signal 1 "]),
        ("cc delete command ", [f"cc delete command {word} " for word in ("1", "2", "all", "net")]),
        ("cc exitcode ", ["cc exitcode 1 ", "cc exitcode 2 "]),
    ],
)
async def test_completion_knows_commands_and_their_prefixes(typed: str, found: list[str]) -> None:
    engine = bench(GetCommands=prefixed("net", ""))
    assert await engine.engine.suggest(typed, engine.session) == found
