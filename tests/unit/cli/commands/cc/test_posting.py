"""The `cc` commands: what they ask, and which words they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from bus.messages.base import Ack, Message, Request
from bus.messages.cc import (
    CcState,
    ClearCc,
    ClientList,
    CommandKind,
    CommandList,
    CommandPosted,
    CommandSpec,
    DeleteCommands,
    DeleteResponses,
    GetCcState,
    GetClients,
    GetCommands,
    GetGuestProcesses,
    GetOutcomes,
    GetResponses,
    GuestFilter,
    GuestProcesses,
    Listen,
    Outcomes,
    PostCommand,
    Responses,
    SetFilter,
    SetPrefix,
    SignalCommand,
    Unlisten,
)
from bus.messages.tunnel import CloseTunnel, GetTunnels, OpenTunnel, TunnelList
from cli.commands.cc import filter_words
from tests.unit.cli.stand_ins import EngineBench

EXEC, SEND, RECV = CommandKind.EXEC, CommandKind.SEND, CommandKind.RECEIVE
ANSWERS: dict[type[Message], Any] = {
    GetCcState: CcState(),
    GetClients: ClientList(clients=()),
    GetCommands: CommandList(commands=()),
    GetGuestProcesses: GuestProcesses(processes=()),
    GetOutcomes: Outcomes(id=3),
    GetResponses: Responses(),
    GetTunnels: TunnelList(tunnels=()),
    PostCommand: CommandPosted(id=4, guests=2),
    **dict.fromkeys(
        (SetFilter, SetPrefix, DeleteCommands, DeleteResponses, ClearCc, Listen, Unlisten, OpenTunnel, CloseTunnel),
        Ack(),
    ),
    SignalCommand: Ack(),
}


def bench() -> EngineBench:
    return EngineBench(ANSWERS)


def run(*argv: str, **more: Any) -> PostCommand:
    return PostCommand(command=CommandSpec(kind=EXEC, argv=argv, **more))


def post(kind: CommandKind, **more: Any) -> PostCommand:
    return PostCommand(command=CommandSpec(kind=kind, **more))


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("cc", GetCcState()),
        ("cc clients", GetClients()),
        ("cc commands", GetCommands()),
        ("cc prefix", GetCcState()),
        ("cc prefix foo", SetPrefix(prefix="foo")),
        ("cc prefix prefix", SetPrefix(prefix="prefix")),
        ("cc filter", GetCcState()),
        ("cc filter os=linux foo=bar", SetFilter(filter=GuestFilter(os="linux", tags=(("foo", "bar"),)))),
        ("cc exec ls -l /", run("ls", "-l", "/")),
        ('cc exec sh -c "a; b"', run("sh", "-c", "a; b")),
        ("cc exec stdin=a stdout=b stderr=c cat -", run("cat", "-", stdin="a", stdout="b", stderr="c")),
        ("cc exec stderr=c stdin=a cat", run("cat", stdin="a", stderr="c")),
        ("cc exec stdin=exp//a=b cat", run("cat", stdin="exp//a=b")),
        ("cc exec A=B stdin=x env", run("A=B", "stdin=x", "env")),
        ("cc exec stdinx=a", run("stdinx=a")),
        ("cc exec timeout=1m30s stdin=a cat", run("cat", stdin="a", timeout_s=90.0)),
        ("cc background stdin=a timeout=500ms cat", run("cat", stdin="a", timeout_s=0.5, background=True)),
        ("cc exec env timeout=5", run("env", "timeout=5")),
        ("cc signal all", GetCommands()),
        ("cc exec wget http://10.0.0.1/x", run("wget", "http://10.0.0.1/x")),
        ("cc exec-once reboot", run("reboot", once=True)),
        ("cc background sleep 5", run("sleep", "5", background=True)),
        ("cc background-once a", run("a", background=True, once=True)),
        ("cc send a b/*", post(SEND, files=("a", "b/*"))),
        ('cc send "a b"', post(SEND, files=("a b",))),
        ("cc recv /etc/passwd http://x", post(RECV, files=("/etc/passwd", "http://x"))),
        ("cc process list all", GetGuestProcesses(target="all")),
        ("cc process list web", GetGuestProcesses(target="web")),
        ("cc process kill 12", post(CommandKind.KILL, pid=12)),
        ("cc process kill all", post(CommandKind.KILL, pid=-1)),
        ("cc process kill -1", post(CommandKind.KILL, pid=-1)),
        ('cc process killall "sleep 5"', post(CommandKind.KILL_ALL, name="sleep 5")),
        ("cc log level debug", post(CommandKind.LEVEL, level="debug")),
        (
            "cc test-conn tcp 10.0.0.1 22 wait 10s",
            post(CommandKind.PROBE, protocol="tcp", host="10.0.0.1", port=22, wait_s=10.0),
        ),
        (
            "cc test-conn udp ntp 123 wait 1m aGk=",
            post(CommandKind.PROBE, protocol="udp", host="ntp", port=123, wait_s=60.0, packet=b"hi"),
        ),
        ("cc delete command 3", DeleteCommands(target="3")),
        ("cc delete command all", DeleteCommands(target="all")),
        ("cc delete response foo", DeleteResponses(target="foo")),
        ("cc responses 3", GetResponses(target="3")),
        ("cc responses all raw", GetResponses(target="all")),
        ("cc response 3 raw", GetResponses(target="3")),
        ("cc client", GetClients()),
        ("cc outcomes 3", GetOutcomes(id=3)),
        ("cc signal 3", SignalCommand(id=3, signal=15)),
        ("cc signal 3 KILL", SignalCommand(id=3, signal=9)),
        ("cc signal 3 sigint", SignalCommand(id=3, signal=2)),
        ("cc signal 3 10", SignalCommand(id=3, signal=10)),
        ("cc listen 9002", Listen(port=9002)),
        ("cc listen 9002 10.0.0.1", Listen(port=9002, address="10.0.0.1")),
        ("cc listen", GetCcState()),
        ("clear cc listen 9002", Unlisten(port=9002)),
        ("cc tunnel list all", GetTunnels(target="all")),
        ("cc tunnel close web 2", CloseTunnel(target="web", id=2)),
        ("cc tunnel web 8080 127.0.0.1 80", OpenTunnel(target="web", source=8080, host="127.0.0.1", port=80)),
        ("cc tunnel list 1 host 80", OpenTunnel(target="list", source=1, host="host", port=80)),
        ("cc rtunnel 8080 files 80", OpenTunnel(source=8080, host="files", port=80, reverse=True)),
        ("clear cc", ClearCc()),
        ("clear cc commands", ClearCc(parts=("commands",))),
        ("clear cc responses", ClearCc(parts=("responses",))),
    ],
)
async def test_what_is_asked(line: str, request_: Request[Any]) -> None:
    engine = bench()
    response = await engine.one(line)
    assert not response.error
    assert [(asked.to.partition("@")[0], asked.request) for asked in engine.bus.asked] == [("cc", request_)]
    assert {asked.namespace for asked in engine.bus.asked} == {"minimega"}


async def test_each_namespace_has_its_own() -> None:
    engine = bench()
    for line in ("cc exec ls", "cc filter os=x", "cc prefix", "cc responses 1"):
        await engine.one(f"namespace exp {line}")
    assert [asked.namespace for asked in engine.bus.asked if asked.to.startswith("cc")] == ["exp"] * 4


async def test_nobody_is_pid_0() -> None:
    engine = bench()
    assert await engine.text("cc process kill 0") == ""
    assert engine.bus.asked == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("cc exec stdin=a", "which program? there is only how it is to be run"),
        ("cc exec stdin=a stdout=b", "which program? there is only how it is to be run"),
        ("cc exec stdin= cat", "stdin= names no pipe"),
        ('cc exec ""', "the name of a program cannot be empty"),
        ("cc filter os", "malformed id=value pair: os"),
        ("cc filter os=linux =x", "malformed id=value pair: =x"),
        ("cc filter tag=:x", "malformed id=value pair: tag=:x"),
        ("cc process kill x", "invalid PID: `x`"),
        ("cc process kill -2", "invalid PID: `-2`"),
        ("cc process kill 99999999999", "invalid PID: `99999999999`"),
        ("cc listen x", "non-integer port: x : a port is a number from 1 to 65535"),
        ("cc listen 65536", "non-integer port: 65536 : a port is a number from 1 to 65535"),
        ("cc tunnel web x h 80", "non-integer src: x : a port is a number from 1 to 65535"),
        ("cc tunnel web 80 h \u0663", "non-integer dst: \u0663 : a port is a number from 1 to 65535"),
        ("cc rtunnel 0 h 80", "non-integer src: 0 : a port is a number from 1 to 65535"),
        ("cc tunnel close web x", "tunnels are numbered, and x is no number: `cc tunnel list all` shows them"),
        ("cc test-conn tcp h 22 wait soon", "not a duration such as 200ms, 1.5s or 1m30s: 'soon'"),
        ("cc test-conn tcp h 22 wait 0s", "the time to wait must be more than nothing"),
        ("cc test-conn tcp h 22 wait 1s aGk=", "a packet is sent in tests by UDP only"),
        ("cc test-conn udp h 22 wait 1s", "a test by UDP needs a packet that is answered, in base64"),
        ("cc test-conn udp h 22 wait 1s a", "the UDP packet is not base64"),
        ("cc test-conn tcp h 0 wait 1s", "non-integer port: 0 : a port is a number from 1 to 65535"),
        ("cc exec timeout=5s", "which program? there is only how it is to be run"),
        ("cc exec timeout=soon ls", "not a duration such as 200ms, 1.5s or 1m30s: 'soon'"),
        ("cc exec timeout=0s ls", "the time that a program may run must be more than nothing"),
        ("cc exitcode x web", "commands are numbered, and x is no number: `cc commands` shows them"),
        ("cc outcomes x", "no such prefix: `x`"),
        ("cc wait 1234567890", "commands are numbered, and 1234567890 is no number: `cc commands` shows them"),
        ("cc wait 3 soon", "not a duration such as 200ms, 1.5s or 1m30s: 'soon'"),
        ("cc signal 3 NOSUCH", "there is no signal NOSUCH: say for instance TERM, KILL or 15"),
        ("cc signal 3 65", "there is no signal 65: say for instance TERM, KILL or 15"),
    ],
)
async def test_one_sentence_for_bad_words(line: str, sentence: str) -> None:
    engine = bench()
    assert await engine.error(line) == sentence
    assert not [asked for asked in engine.bus.asked if isinstance(asked.request, PostCommand | GetOutcomes)]


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("words", "wanted", "text"),
    [
        (["UUID=ABC"], GuestFilter(uuid="abc"), "uuid=abc"),
        (["Hostname=Web"], GuestFilter(hostname="Web"), "hostname=Web"),
        (["mac=02:AA"], GuestFilter(mac="02:aa"), "mac=02:aa"),
        (["ip=10.0.0.0/8", "os=a", "arch=b"], GuestFilter(ip="10.0.0.0/8", os="a", arch="b"), None),
        (["os=a", "os=b"], GuestFilter(os="b"), "os=b"),
        (["os=a=b"], GuestFilter(os="a=b"), "os=a=b"),
        (["tag=k:v"], GuestFilter(tags=(("k", "v"),)), "k=v"),
        (["tag=k=v"], GuestFilter(tags=(("k", "v"),)), "k=v"),
        (["tag=k=v:w"], GuestFilter(tags=(("k", "v:w"),)), None),
        (["tag=k"], GuestFilter(tags=(("k", ""),)), "k="),
        (["foo=bar", "Zoo="], GuestFilter(tags=(("foo", "bar"), ("Zoo", ""))), "Zoo= && foo=bar"),
        (["foo:x=bar"], GuestFilter(tags=(("foo:x", "bar"),)), "foo:x=bar"),
        (["name=web", "NAME=db"], GuestFilter(columns=(("name", "db"),)), "name=db"),
        (["tag=name:web"], GuestFilter(tags=(("name", "web"),)), None),
    ],
)
def test_filters(words: list[str], wanted: GuestFilter, text: str | None) -> None:
    assert filter_words.parse(words) == wanted
    if text is not None:
        assert filter_words.text(wanted) == text


def test_a_filter_in_columns() -> None:
    wanted = GuestFilter(uuid="u", ip="1.2.3.4", columns=(("name", "web"),), tags=(("b", "2"), ("a", '"')))
    assert filter_words.row(wanted) == ("u", "", "", "", "1.2.3.4", "", '{"a":"\\"","b":"2"}', '{"name":"web"}')
    assert filter_words.text(None) == ""
