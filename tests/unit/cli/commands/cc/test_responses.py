"""The `cc` commands: what they show of the answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bus.errors import NotFoundError, UnreachableError
from bus.messages.base import Message
from bus.messages.cc import (
    CcState,
    ClientInfo,
    ClientList,
    CommandInfo,
    CommandKind,
    CommandList,
    CommandPosted,
    CommandSpec,
    CommandState,
    GetCcState,
    GetClients,
    GetCommands,
    GetGuestProcesses,
    GetOutcomes,
    GetResponses,
    GuestFilter,
    GuestProcess,
    GuestProcesses,
    Outcome,
    Outcomes,
    PostCommand,
    ResponseFile,
    Responses,
)
from bus.messages.tunnel import GetTunnels, TunnelInfo, TunnelList
from tests.unit.cli.stand_ins import EngineBench

EXEC, SEND, RECV = CommandKind.EXEC, CommandKind.SEND, CommandKind.RECEIVE
ONE = ClientInfo(
    uuid="u1", vm="web", hostname="h\x1b1", arch="amd64", os="linux", ips=("10.0.0.1", "fe80::1"), macs=("02:00",)
)
OUTCOMES = Outcomes(
    id=3,
    outcomes=(
        Outcome(uuid="u1", vm="web", state=CommandState.EXITED, code=7, started_s=1.0, ended_s=2.0, stdout=5),
        Outcome(uuid="u2", vm="db", state=CommandState.SIGNALED, code=9),
        Outcome(uuid="u3", vm="off", state=CommandState.FAILED, error="nonesuch: not\x1b found"),
        Outcome(uuid="u4", vm="slow", state=CommandState.RUNNING, pid=4),
        Outcome(uuid="u5", vm="late", state=CommandState.TIMEOUT),
    ),
)
ANSWERS: dict[type[Message], Any] = {
    GetCcState: CcState(clients=2, filter=GuestFilter(os="linux"), prefix="p", listeners=("*:9002",)),
    GetClients: ClientList(clients=(ONE, ClientInfo(uuid="u2", vm="db", hostname="twin"))),
    GetCommands: CommandList(commands=()),
    GetGuestProcesses: GuestProcesses(processes=()),
    GetOutcomes: OUTCOMES,
    GetResponses: Responses(),
    GetTunnels: TunnelList(tunnels=()),
    PostCommand: CommandPosted(id=4, guests=2),
}


def bench(**reactions: Any) -> EngineBench:
    by_name = {kind.__name__: kind for kind in ANSWERS}
    return EngineBench({**ANSWERS, **{by_name[name]: reaction for name, reaction in reactions.items()}})


# ---------------------------------------------------------------- what is shown


async def test_clients_are_counted_and_what_is_in_force_is_data() -> None:
    response = await bench().one("cc")
    assert (response.header, response.rows) == (("clients",), [("2",)])
    told = {key: response.data[key] for key in ("clients", "filter", "prefix", "listeners")}
    assert told == {"clients": 2, "filter": {"os": "linux"}, "prefix": "p", "listeners": ("*:9002",)}
    assert await bench().text("cc prefix") == "p"
    response = await bench().one("cc listen")
    assert (response.header, response.rows) == (("address",), [("*:9002",)])


async def test_clients_as_minimega_lists_them() -> None:
    response = await bench().one("cc clients")
    assert response.header == ("uuid", "hostname", "arch", "os", "ip", "mac")
    assert response.rows == [
        ("u1", "h\\x1b1", "amd64", "linux", "[10.0.0.1 fe80::1]", "[02:00]"),
        ("u2", "twin", "", "", "[]", "[]"),
    ]


async def test_a_filter_as_it_is_in_force() -> None:
    response = await bench().one("cc filter")
    assert response.header == ("uuid", "hostname", "arch", "os", "ip", "mac", "tags", "columns")
    assert response.rows == [("", "", "", "linux", "", "", "{}", "{}")]
    response = await bench(GetCcState=CcState()).one("cc filter")
    assert (response.text, response.header, response.rows) == ("", None, None)


async def test_commands_have_the_columns_of_minimega_first() -> None:
    commands = (
        CommandInfo(
            id=1,
            prefix="p",
            command=CommandSpec(kind=EXEC, argv=("sh", "-c", "a b"), background=True, once=True),
            filter=GuestFilter(os="linux", columns=(("name", "web"),), tags=(("a", "b"),)),
            responses=3,
            states={"exited": 2, "running": 1, "waiting": 4},
        ),
        CommandInfo(id=2, command=CommandSpec(kind=SEND, files=("a", "b c"))),
        CommandInfo(id=3, command=CommandSpec(kind=RECV, files=("/x",))),
        CommandInfo(id=4, command=CommandSpec(kind=CommandKind.KILL, pid=-1)),
        CommandInfo(id=5, command=CommandSpec(kind=CommandKind.KILL, pid=9)),
        CommandInfo(id=6, command=CommandSpec(kind=CommandKind.KILL_ALL, name="foo")),
        CommandInfo(id=7, command=CommandSpec(kind=CommandKind.LEVEL, level="warn")),
        CommandInfo(id=8, command=CommandSpec(kind=CommandKind.PROBE, protocol="tcp", host="h", port=22, wait_s=1.0)),
    )
    response = await bench(GetCommands=CommandList(commands=commands)).one("cc commands")
    assert response.header == (
        *("id", "prefix", "command", "responses", "background", "sent", "received", "level", "filter"),
        *("once", "connectivity", "waiting", "running"),
    )
    nothing = ("0", "0")
    assert response.rows == [
        ("1", "p", "[sh -c a b]", "3", "true", "[]", "[]", "", "os=linux && name=web && a=b", "true", "", "4", "1"),
        ("2", "", "[]", "0", "false", "[a b c]", "[]", "", "", "false", "", *nothing),
        ("3", "", "[]", "0", "false", "[]", "[/x]", "", "", "false", "", *nothing),
        ("4", "", "[kill all]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("5", "", "[kill 9]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("6", "", "[killall foo]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("7", "", "[]", "0", "false", "[]", "[]", "warn", "", "false", "", *nothing),
        ("8", "", "[]", "0", "false", "[]", "[]", "", "", "false", "tcp h:22", *nothing),
    ]
    assert response.data[0]["states"] == {"exited": 2, "running": 1, "waiting": 4}


async def test_a_command_tells_its_number_to_programs_and_nothing_to_people() -> None:
    response = await bench().one("cc exec ls")
    assert (response.text, response.rows, response.data) == ("", None, 4)


async def test_a_command_for_nobody_says_so_and_is_no_error() -> None:
    reply = CommandPosted(id=4, warning="no guest matches the filter now")
    for line in ("cc exec ls", "cc process kill 7"):
        response = await bench(PostCommand=reply).one(line)
        assert (response.text, response.error) == ("no guest matches the filter now", "")
        assert response.data == 4


async def test_processes() -> None:
    process = GuestProcess(vm="web", uuid="u1", pid=7, argv=("sleep", "5\x1b"), id=2)
    response = await bench(GetGuestProcesses=GuestProcesses(processes=(process,))).one("cc process list web")
    assert response.header == ("name", "uuid", "pid", "command")
    assert response.rows == [("web", "u1", "7", "sleep 5\\x1b")]


async def test_tunnels() -> None:
    tunnel = TunnelInfo(id=2, vm="web", uuid="u1", source=8080, host="h", port=80, reverse=True, connections=3)
    response = await bench(GetTunnels=TunnelList(tunnels=(tunnel,))).one("cc tunnel list web")
    assert response.header == ("vm", "id", "src port", "dst", "dst port", "reverse", "connections")
    assert response.rows == [("web", "2", "8080", "h", "80", "true", "3")]


# ---------------------------------------------------------------- responses


def file(name: str, data: bytes, *, size: int = -1, offset: int = 0, number: int = 1) -> ResponseFile:
    return ResponseFile(id=number, uuid="u1", name=name, size=len(data) if size < 0 else size, data=data, offset=offset)


def paged(*pages: list[ResponseFile]) -> Any:
    """Answers page by page, as the cursor asks."""

    def answer(asked: Any) -> Responses:
        number = int(asked.request.cursor or 0)
        last = number + 1 == len(pages)
        return Responses(files=tuple(pages[number]), cursor="" if last else str(number + 1))

    return answer


async def test_responses_with_their_paths_or_raw() -> None:
    pages = paged([file("stdout", b"hello\n"), file("/etc/a b\x1b", b"x")], [file("stderr", b"", number=2)])
    response = await bench(GetResponses=pages).one("cc responses all")
    assert response.text == "1/u1/stdout:\nhello\n\n1/u1/etc/a b\\x1b:\nx\n2/u1/stderr:\n\n"
    assert [(entry["id"], entry["name"], entry["size"]) for entry in response.data] == [
        (1, "stdout", 6),
        (1, "/etc/a b\x1b", 1),
        (2, "stderr", 0),
    ]
    assert (await bench(GetResponses=pages).one("cc responses all raw")).text == "hello\n\nx\n\n"


async def test_a_file_in_several_pages_is_one_text() -> None:
    data = "a\u00fc\U0001f600b".encode()
    for cut in range(1, len(data)):
        pieces = paged(
            [file("stdout", data[:cut], size=len(data))], [file("stdout", data[cut:], size=len(data), offset=cut)]
        )
        assert await bench(GetResponses=pieces).text("cc responses 1 raw") == "a\u00fc\U0001f600b\n"
    assert await bench(GetResponses=paged([file("stdout", b"\xff\xc3")])).text("cc responses 1 raw") == "\ufffd\ufffd\n"


async def test_no_responses() -> None:
    response = await bench().one("cc responses all")
    assert (response.text, response.error, response.data) == ("", "", None)
    engine = bench(GetResponses=NotFoundError("no responses for 3"))
    assert await engine.error("cc responses 3") == "no responses for 3"


async def test_more_responses_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.cc.responses.MAX_TEXT", 1024 * 1024)
    asked: list[str] = []

    def endless(ask: Any) -> Responses:
        asked.append(ask.request.cursor)
        return Responses(files=(file("stdout", b"x" * 600_000, size=10**12, offset=600_000 * len(asked)),), cursor="n")

    assert await bench(GetResponses=endless).error("cc responses 1") == (
        "there are more than 1 MiB of responses: ask for fewer, or read the files in miniccc_responses"
    )
    assert len(asked) == 2


async def test_responses_that_grow_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.cc.responses.MAX_TEXT", 1024 * 1024)
    zeros = paged([file("stdout", b"\0" * 200_000)], [file("stderr", b"x")])
    assert "more than 1 MiB" in await bench(GetResponses=zeros).error("cc responses 1")


# ---------------------------------------------------------------- how commands ended


async def test_outcomes_of_each_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    response = await bench().one("cc outcomes 3")
    assert response.header == (
        *("vm", "uuid", "state", "code", "started", "ended", "stdout", "stderr", "files", "error"),
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
    assert response.rows[2][6:] == ("0", "0", "0", "nonesuch: not\\x1b found")
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
    monkeypatch.setattr("cli.commands.cc.responses.TURN_S", 0.0)
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
    background = CommandInfo(id=3, command=CommandSpec(kind=EXEC, argv=("x",), background=True))
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
