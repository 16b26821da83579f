"""The `cc` commands: what they show of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import NotFoundError, UnreachableError
from bus.messages.cc import (
    CcState,
    CommandInfo,
    CommandKind,
    CommandList,
    CommandPosted,
    CommandSpec,
    GetResponses,
    GuestFilter,
    GuestProcess,
    GuestProcesses,
    ResponseFile,
    Responses,
)
from bus.messages.tunnel import TunnelInfo, TunnelList
from bus.messages.vm import VmNames
from tests.unit.cli.commands.cc.answers import bench

EXEC, SEND, RECV = CommandKind.EXEC, CommandKind.SEND, CommandKind.RECEIVE
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
    assert response.header == ("uuid", "hostname", "arch", "os", "ip", "mac", "vm", "silent")
    assert response.rows == [
        ("u1", "h\\x1b1", "amd64", "linux", "[10.0.0.1 fe80::1]", "[02:00]", "web", "1m2s"),
        ("u2", "twin", "", "", "[]", "[]", "db", "0s"),
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
            command=CommandSpec(kind=EXEC, argv=("sh", "-c", "a b"), background=True, once=True, timeout_s=90),
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
        *("once", "connectivity", "waiting", "running", "timeout"),
    )
    nothing = ("0", "0", "")
    assert response.rows == [
        (
            "1",
            "p",
            "[sh -c a b]",
            "3",
            "true",
            "[]",
            "[]",
            "",
            "os=linux && name=web && a=b",
            "true",
            "",
            "4",
            "1",
            "1m30s",
        ),
        ("2", "", "[]", "0", "false", "[a b c]", "[]", "", "", "false", "", *nothing),
        ("3", "", "[]", "0", "false", "[]", "[/x]", "", "", "false", "", *nothing),
        ("4", "", "[kill all]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("5", "", "[kill 9]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("6", "", "[killall foo]", "0", "false", "[]", "[]", "", "", "false", "", *nothing),
        ("7", "", "[]", "0", "false", "[]", "[]", "warn", "", "false", "", *nothing),
        ("8", "", "[]", "0", "false", "[]", "[]", "", "", "false", "tcp h:22", *nothing),
    ]
    many = CommandInfo(id=1, command=CommandSpec(kind=SEND, files=tuple(f"f{number}" for number in range(5000))))
    response = await bench(GetCommands=CommandList(commands=(many,))).one("cc commands")
    assert response.rows is not None and response.rows[0][5] == "[f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 and 4990 more]"
    assert len(response.data[0]["command"]["files"]) == 5000


async def test_states_of_commands_are_data() -> None:
    info = CommandInfo(id=1, command=CommandSpec(kind=EXEC), states={"exited": 2, "running": 1, "waiting": 4})
    response = await bench(GetCommands=CommandList(commands=(info,))).one("cc commands")
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


async def test_responses_as_a_table() -> None:
    pages = paged(
        [file("stdout", b"one\ntwo\x1b\n"), file("/etc/a b", b"x" * 1024, size=5000)],
        [file("stderr", b"", number=2)],
    )
    engine = bench(GetResponses=pages, GetVmNames=VmNames(uuids={"web": "U1"}))
    response = await engine.one("cc responses all table")
    assert response.header == ("id", "vm", "uuid", "file", "size", "text")
    assert response.rows == [
        ("1", "web", "u1", "stdout", "9", "one\\ntwo\\x1b"),
        ("1", "web", "u1", "/etc/a b", "5000", "x" * 1024 + "..."),
        ("2", "web", "u1", "stderr", "0", ""),
    ]
    assert response.data[0]["text"] == "one\ntwo\x1b" and response.data[1]["vm"] == "web"
    asked = [one.request for one in engine.bus.asked if isinstance(one.request, GetResponses)]
    assert [request.most for request in asked] == [1024, 1024]
    nobody = bench(GetResponses=pages, GetVmNames=UnreachableError("nobody is at vm"))
    assert [row[1] for row in (await nobody.one("cc responses 1 table")).rows or ()] == ["", "", ""]


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
