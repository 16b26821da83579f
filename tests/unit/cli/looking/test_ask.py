"""`minibus ask`: from words to a request."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import InvalidError
from bus.messages.host import RunProgram
from bus.messages.pipe import WritePipe
from bus.messages.vm import GetVms, StartVms
from cli.looking.ask import Known, _as_objects, listing, parse_request


@pytest.mark.parametrize(
    ("type_", "fields", "request_"),
    [
        ("vm.list.get", "", GetVms()),
        ("vm.list.get", " {} \n", GetVms()),
        ("vm.start", '{"target": "web[1-3]"}', StartVms(target="web[1-3]")),
        ("vm.start", '{"type": "vm.start", "target": "web"}', StartVms(target="web")),
        ("host.program.run", '{"argv": ["ls", "-l"]}', RunProgram(argv=("ls", "-l"))),
        (
            "pipe.write",
            '{"pipe": "p", "writer": "w", "number": 1, "data": "aGkK"}',
            WritePipe(pipe="p", writer="w", number=1, data=b"hi\n"),
        ),
    ],
)
def test_a_request(type_: str, fields: str, request_: Any) -> None:
    assert parse_request(type_, fields) == request_


@pytest.mark.parametrize(
    ("type_", "fields", "sentence"),
    [
        ("vm.strat", "", r"^there is no request `vm.strat`; did you mean vm.start"),
        ("vm.list", "", r"^there is no request `vm.list`; did you mean vm.list.get"),  # that is a reply
        ("x" * 1000, "", r"^there is no request `x{80}`"),
        ("vm.start", "", r"^vm.start: object missing required field `target`$"),
        ("vm.start", '{"target": 5}', r"^vm.start: expected `str`, got `int` at `target`$"),
        ("vm.start", '{"target": "a", "force": 1}', r"^vm.start has no field `force`: it has `target` \(string\)$"),
        ("control.ping", '{"x": 1}', r"^control.ping has no field `x`: it has none$"),
        ("vm.start", "[]", r"^vm.start: the fields must be a JSON object"),
        ("vm.start", "{target: 1}", r"^vm.start: not JSON: "),
        ("vm.start", "[" * 100_000, r"^vm.start: not JSON: "),
        ("vm.start", '{"type": "vm.stop", "target": "a"}', r"^vm.start: the field `type` names another request$"),
        ("vm.start", '{"target": "\\ud800"}', r"^vm.start: half a character "),
        ("vm.top", '{"window_s": NaN}', r"^vm.top: not JSON: NaN is no number$"),
        ("host.program.run", '{"argv": ["a", 1]}', r"^host.program.run: expected `str`, got `int` at `argv\[1\]`$"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(type_: str, fields: str, sentence: str) -> None:
    with pytest.raises(InvalidError, match=sentence) as caught:
        parse_request(type_, fields)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


FOUND = (Known("vm", ("control.ping", "of.a.later.version", "vm.start")), Known("node", ("log.lines.get", "node.stop")))


def test_a_list_for_people() -> None:
    assert [line.split("   ")[0] for line in listing(FOUND).splitlines()] == [
        "vm",
        "  vm.start -> vm.report",
        "",
        "",
        "node",
        "  log.lines.get -> log.lines",
        "  node.stop -> ack",
        "",
        "every actor and broker",
        "  control.ping -> ack",
    ]
    assert "      target: string\n" in listing(FOUND)


def test_a_list_for_programs() -> None:
    vm, node = _as_objects(FOUND)
    assert vm["requests"][1] == {
        "type": "vm.start",
        "fields": {"target": "string"},
        "reply": "vm.report",
        "changes": True,
    }
    assert [one["changes"] for one in node["requests"]] == [False, True]
