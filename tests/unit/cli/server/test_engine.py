from __future__ import annotations

from typing import Any

import pytest

from bus.errors import (
    BusError,
    CancelledError,
    ConflictError,
    DeadlineError,
    InvalidError,
    NotFoundError,
    UnreachableError,
)
from bus.messages.base import Message
from bus.messages.namespace import GetNamespaces, NamespaceInfo, NamespaceList, OpenNamespace, QueueVms, SetConfig
from bus.messages.vlan import GetVlans, VlanRange, VlanTable
from bus.messages.vm import GetVmNames, GetVms, GuestKind, StartVms, VmList, VmNames, VmReport, VmState
from cli.answers.response import Output
from cli.commands.declare import Command
from cli.commands.registry import COMMANDS
from cli.server import engine as engine_module
from cli.session.session import Session
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm

# ---------------------------------------------------------------- asking


async def test_a_broadcast_asks_every_host_in_the_namespace_of_the_session() -> None:
    bench = EngineBench(hosts=("n1", "n2"))
    bench.session.namespace = "exp"
    (group,) = await bench.run("vm info")
    asked = sorted((a.to, a.namespace) for a in bench.bus.asked)
    actors = ("cc", "namespace", "network", "vm")
    assert asked == [(f"{actor}@{host}", "exp") for actor in actors for host in ("n1", "n2")]
    assert [response.host for response in group.responses] == ["n1", "n2"]


async def test_a_local_command_asks_its_own_host() -> None:
    bench = EngineBench(hosts=("n1", "n2"))
    await bench.run("vm config memory 64")
    (asked,) = bench.bus.asked
    assert (asked.to, asked.request) == ("namespace@n1", SetConfig(param="memory", words=("64",)))


async def test_reports_become_error_lines() -> None:
    bench = EngineBench({QueueVms: VmReport(errors=("a: no filesystem", "b: no filesystem"))})
    assert await bench.error("vm launch container a,b") == "a: no filesystem\nb: no filesystem"
    assert bench.bus.asked[0].request == QueueVms(kind=GuestKind.CONTAINER, names="a,b")


async def test_failures_of_the_bus_are_the_host_s_error() -> None:
    assert await EngineBench({GetVms: InvalidError("no such thing")}).error("vm info") == "no such thing"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"n1": "", "n2": ""}, [("n1", ""), ("n2", "")]),
        ({"n1": "vm not found: x", "n2": ""}, [("n2", "")]),
        ({"n1": "vm not found: x", "n2": "vm not found: x"}, [("n1", "vm not found: x")]),
        ({"n1": "vm not found: a", "n2": "vm not found: b"}, []),
        (
            {"n1": "vm not found: x\nVM state error: a", "n2": "vm not found: x"},
            [("n1", "vm not found: x"), ("n1", "VM state error: a")],
        ),
    ],
)
async def test_not_found_counts_only_if_every_host_says_so(
    answers: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    def react(asked: Asked) -> Message:
        text = answers[asked.to.partition("@")[2]]
        return VmReport(errors=tuple(text.split("\n")) if text else ())

    (group,) = await EngineBench({StartVms: react}, hosts=("n1", "n2")).run("vm start x")
    assert [(response.host, response.error) for response in group.responses] == expected


async def test_one_host_s_not_found_is_told() -> None:
    assert await EngineBench({StartVms: NotFoundError("vm not found: x")}).error("vm start x") == "vm not found: x"


@pytest.mark.parametrize("problem", [UnreachableError("gone"), CancelledError("lost")])
async def test_an_actor_that_restarts_is_asked_again_with_the_same_id(problem: BusError) -> None:
    answers: list[Any] = [problem, problem, VmReport()]
    bench = EngineBench({StartVms: lambda asked: answers.pop(0)})
    assert (await bench.one("vm start x")).error == ""
    assert len(bench.bus.asked) == 3
    assert len({asked.msg_id for asked in bench.bus.asked}) == 1


async def test_an_actor_that_stays_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ABSENT_S", 0.2)
    bench = EngineBench({GetVms: UnreachableError("nobody is at vm@n1")})
    assert await bench.error("vm info") == "nobody is at vm@n1"
    assert len(bench.bus.asked) > 1


async def test_a_late_answer_is_not_asked_again() -> None:
    bench = EngineBench({StartVms: DeadlineError("no answer; the outcome is unknown")})
    assert await bench.error("vm start x") == "no answer; the outcome is unknown"
    assert len(bench.bus.asked) == 1


async def test_a_bug_is_one_sentence_and_a_log_entry() -> None:
    def broken(asked: Asked) -> Message:
        raise KeyError("x")

    bench = EngineBench({GetVms: broken})
    assert "internal error" in await bench.error("vm info")
    assert [type(bug) for bug in bench.bugs] == [KeyError]


# ---------------------------------------------------------------- the line


@pytest.mark.parametrize("line", ["", "  \n", "# comment", "#"])
async def test_nothing_to_do_answers_nothing(line: str) -> None:
    assert await EngineBench().run(line) == []


IN_CSV = "invalid command: `.csv true "


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("kill x", "invalid command: `kill x`: did you mean `vm kill <target>`?"),
        (".csv true flus", f"{IN_CSV}flus`: `flus` is no command: did you mean `ns flush` or `vm flush [target]`?"),
        (".csv true kill x", f"{IN_CSV}kill x`: `kill` is no command: did you mean `vm kill <target>`?"),
        ("namespace exp qqq", "invalid command: `namespace exp qqq`: `qqq` is no command"),
        ("namespace exp vm start", "invalid command: `namespace exp vm start`: did you mean `vm start <target>`?"),
        ("vm list", "invalid command: `vm list`: see `help vm`"),
        ("clear", "invalid command: `clear`: see `help clear`"),
        (".csv true vm  config nosuch", f"{IN_CSV}vm  config nosuch`: see `help vm config`"),
        ("vm strat x", "invalid command: `vm strat x`: did you mean `vm start <target>`?"),
        ('echo "x', 'missing terminal "'),
        ("vm top x", "invalid number of seconds `x`: expected 0 to 3600"),
        ("vm tag x all y", "cannot assign to wildcard"),
        ('namespace ""', "namespace name cannot be the empty string"),
        ("namespace all", "invalid namespace name, `all` is a reserved word"),
        ("namespace a/b", "invalid namespace name, `a/b` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("namespace a/b vm info", "invalid namespace name, `a/b` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        (".filter x vm info", "invalid filter, see help: expected COLUMN=VALUE, !=, ~ (contains) or !~, not `x`"),
        (".columns nope vm info", "no such column `nope`"),
        ("help bogus", "no such command: `bogus`"),
        ("quit soon", "invalid delay `soon`: expected 0 to 604800 seconds"),
    ],
)
async def test_bad_input_is_one_sentence(line: str, sentence: str) -> None:
    bench = EngineBench()
    assert await bench.error(line) == sentence
    assert bench.bugs == []


async def test_echo_keeps_its_words() -> None:
    assert await EngineBench().text('.annotate false echo "" "a  b" \\# y') == " a  b # y"


# ---------------------------------------------------------------- session


async def test_settings_belong_to_the_session() -> None:
    bench, other = EngineBench(), Session()
    await bench.run(".csv true")
    await bench.run(".headers false")
    assert bench.session.output == Output(headers=False, form="csv")
    assert other.output == Output()
    assert [await bench.text(line) for line in (".csv", ".json", ".headers", ".sort")] == [
        "true",
        "false",
        "false",
        "true",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (".csv true vm info", Output(form="csv")),
        (".headers false .headers true vm info", Output(headers=False)),
        (".csv false .csv true vm info", Output(form="table")),
        (".csv false .json true vm info", Output(form="json")),
        (".annotate false .sort f vm info", Output(annotate=False, sort=False)),
    ],
)
async def test_prefixes_count_for_one_command_and_the_outermost_wins(line: str, expected: Output) -> None:
    bench = EngineBench()
    (group,) = await bench.run(line)
    assert group.output == expected
    assert bench.session.output == Output()


async def test_columns_and_filters_stack() -> None:
    (group,) = await EngineBench().run(".columns name,tags .filter state=quit vm info")
    assert (group.responses[0].header, group.responses[0].rows) == (("name", "tags"), [("db", '{"k":"v"}')])


@pytest.mark.parametrize(
    ("line", "namespace", "asked"),
    [
        ("pipe foo bar", "exp", ["OpenNamespace", "WritePipe"]),
        ("cc exec ls", "exp", ["OpenNamespace", "PostCommand"]),
        ("pipe", "exp", ["GetPipes"]),
        ("pipe foo bar", "minimega", ["WritePipe"]),
    ],
)
async def test_what_others_have_destroyed_is_listed_again(line: str, namespace: str, asked: list[str]) -> None:
    bench = EngineBench()
    bench.session.namespace = namespace
    await bench.run(line)
    assert [type(one.request).__name__ for one in bench.bus.asked][: len(asked)] == asked
    assert {one.namespace for one in bench.bus.asked} == {namespace}


async def test_nothing_is_begun_where_all_is_being_ended() -> None:
    bench = EngineBench({OpenNamespace: ConflictError("namespace exp is being destroyed")})
    bench.session.namespace = "exp"
    assert await bench.error("pipe foo bar") == "namespace exp is being destroyed"
    assert [type(one.request) for one in bench.bus.asked] == [OpenNamespace]


async def test_namespaces() -> None:
    known = NamespaceList(namespaces=(NamespaceInfo(name="exp", hosts=("n1",), queueing=True),))
    fresh = VlanRange(minimum=101, maximum=4096, next_=101)
    bench = EngineBench({GetNamespaces: known, GetVlans: VlanTable(ranges={"minimega": fresh})})
    await bench.run("namespace other vm info")
    assert (bench.bus.asked[-1].namespace, bench.session.namespace) == ("other", "minimega")
    await bench.run("namespace exp")
    assert (await bench.one("namespace")).rows == [("exp", "", "true"), ("minimega", "101-4096", "false")]
    assert await bench.text("ns queueing") == "true"
    await bench.run("namespace foo namespace bar")
    assert bench.session.namespace == "exp"
    await bench.run("clear namespace")
    assert bench.session.namespace == "minimega"


async def test_the_namespace_is_restored_after_an_error() -> None:
    bench = EngineBench({GetVms: InvalidError("bad")})
    await bench.run("namespace foo vm info")
    assert bench.session.namespace == "minimega"


async def test_history() -> None:
    bench = EngineBench({StartVms: InvalidError("bad")})
    lines = ["echo a", "nonsense", "", "# note", "vm start x", ".record false echo b", "namespace foo echo c"]
    for line in lines:
        await bench.run(f" {line} ")
    assert await bench.text("history") == "echo a\n# note\nvm start x\nnamespace foo echo c"
    await bench.run(".record false")
    await bench.run("echo d")
    await bench.run(".record true echo e")
    assert bench.session.history.lines[-1] == ".record true echo e"
    assert "echo d" not in bench.session.history.lines
    await bench.run("clear history")
    assert bench.session.history.lines == ()


# ---------------------------------------------------------------- completion


async def test_completion_knows_the_vms() -> None:
    bench = EngineBench({GetVmNames: VmNames(uuids={"web": "1", "db": "2"})})
    assert await bench.engine.suggest("vm tag w", bench.session) == ["vm tag web "]
    assert await bench.engine.suggest("vm st", bench.session) == ["vm start ", "vm stop "]
    assert await bench.engine.suggest(".csv true vm kill ", bench.session) == [
        ".csv true vm kill all ",
        ".csv true vm kill db ",
        ".csv true vm kill web ",
    ]


async def test_completion_offers_to_start_what_does_not_run_and_to_stop_what_does() -> None:
    bench = EngineBench({GetVms: VmList(vms=tuple(make_vm(i, f"vm-{s.value}", s) for i, s in enumerate(VmState)))})
    stop = await bench.engine.suggest("vm stop ", bench.session)
    assert stop == ["vm stop all ", f"vm stop vm-{VmState.RUNNING.value} "]
    start = await bench.engine.suggest("vm start v", bench.session)
    assert start == sorted(f"vm start vm-{state.value} " for state in VmState if state is not VmState.RUNNING)


async def test_completion_without_an_answer_is_no_error() -> None:
    bench = EngineBench({GetVmNames: InvalidError("x"), GetVms: InvalidError("x")})
    assert await bench.engine.suggest("vm start ", bench.session) == []
    assert await bench.engine.suggest("vm tag", bench.session) == ["vm tag "]


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.patterns[0])
def test_every_command_is_complete(command: Command) -> None:
    assert command.help_short and not command.help_short.endswith(".")
    assert (command.run is None) == bool(command.to and command.request)


def test_no_two_commands_have_the_same_pattern() -> None:
    patterns = [pattern for command in COMMANDS for pattern in command.patterns]
    assert len(set(patterns)) == len(patterns)
