"""`namespace`, `clear namespace` and `clear all`."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import ConflictError, InvalidError, NotFoundError
from bus.messages.base import Ack, Message
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import (
    DestroyNamespace,
    DestroyReport,
    GetNamespaces,
    NamespaceInfo,
    NamespaceList,
    OpenNamespace,
)
from bus.messages.pipe import DeletePipes
from bus.messages.pipeline import ClearPipelines
from bus.messages.vlan import ClearVlans
from bus.messages.vm import GetVmNames, VmNames
from cli.commands.namespace.everything import LINES
from cli.session.session import Session
from tests.unit.cli.stand_ins import Asked, EngineBench


def world(*names: str, **errors: str | tuple[str, ...]) -> dict[type[Message], Any]:
    """Namespaces that can be destroyed; one of `errors` fails with a sentence, or reports some."""

    def destroy(asked: Asked) -> Message:
        error = errors.get(asked.namespace, ())
        if isinstance(error, str):
            raise ConflictError(error)
        return DestroyReport(errors=error)

    known = NamespaceList(namespaces=tuple(NamespaceInfo(name=name, hosts=("n1",)) for name in names))
    return {GetNamespaces: known, DestroyNamespace: destroy}


def destroyed(bench: EngineBench) -> list[str]:
    """Whose end was asked for."""
    return [asked.namespace for asked in bench.bus.asked if isinstance(asked.request, DestroyNamespace)]


@pytest.mark.parametrize(("line", "active"), [("namespace exp", "exp"), ("namespace exp vm info", "minimega")])
async def test_a_namespace_is_made_by_its_first_mention(line: str, active: str) -> None:
    bench = EngineBench()
    await bench.run(line)
    assert (bench.bus.asked[0].request, bench.bus.asked[0].namespace) == (OpenNamespace(), "exp")
    assert bench.session.namespace == active
    await bench.run(line)
    assert await bench.error(line) == ""


async def test_one_that_cannot_be_made_is_not_entered() -> None:
    bench = EngineBench({OpenNamespace: ConflictError("namespace exp is being destroyed")})
    assert await bench.error("namespace exp") == "namespace exp is being destroyed"
    assert bench.session.namespace == "minimega"


async def test_one_that_is_being_destroyed_can_be_looked_at() -> None:
    bench = EngineBench({OpenNamespace: ConflictError("namespace exp is being destroyed")})
    assert (await bench.one("namespace exp vm info")).rows
    assert (bench.bus.asked[-1].namespace, bench.session.namespace) == ("exp", "minimega")


async def test_without_the_owner_of_namespaces_nothing_is_run_in_one() -> None:
    bench = EngineBench({OpenNamespace: InvalidError("no")})
    assert await bench.error("namespace exp vm info") == "no"
    assert len(bench.bus.asked) == 1


async def test_the_default_namespace_again() -> None:
    bench = EngineBench()
    await bench.run("namespace exp")
    for _ in range(2):
        assert (await bench.one("clear namespace")).error == ""
        assert bench.session.namespace == "minimega"


async def test_destroying_the_active_namespace_makes_the_default_active() -> None:
    bench = EngineBench(world("exp", "other"))
    await bench.run("namespace exp")
    assert await bench.error("clear namespace other") == ""
    assert bench.session.namespace == "exp"
    assert await bench.error("clear namespace exp") == ""
    assert bench.session.namespace == "minimega"
    assert destroyed(bench) == ["other", "exp"]


@pytest.mark.parametrize("line", ["namespace exp clear namespace exp", "namespace other clear namespace all"])
async def test_so_does_destroying_it_from_inside_another_command(line: str) -> None:
    bench = EngineBench(world("exp", "other"))
    await bench.run("namespace exp")
    await bench.run(line)
    assert bench.session == Session(history=bench.session.history)


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ("scheduler still running for namespace", "scheduler still running for namespace"),
        (("a: x", "b: y"), "a: x\nb: y"),
    ],
)
async def test_what_could_not_be_destroyed_stays_active(errors: str | tuple[str, ...], shown: str) -> None:
    bench = EngineBench(world("exp", exp=errors))
    await bench.run("namespace exp")
    assert await bench.error("clear namespace exp") == shown
    assert bench.session.namespace == "exp"


async def test_names() -> None:
    bench = EngineBench({DestroyNamespace: NotFoundError("unknown namespace: who")})
    assert await bench.error("clear namespace who") == "unknown namespace: who"
    assert await bench.error('clear namespace ""') == "namespace name cannot be the empty string"
    assert (await bench.error("clear namespace a/b")).startswith("invalid namespace name, `a/b` is not ")
    assert destroyed(bench) == ["who"]


async def test_all_of_them_and_no_failure_stops_the_rest() -> None:
    bench = EngineBench(world("exp", "bad", "worse", bad="no", worse=("v: x", "w: y")))
    await bench.run("namespace exp")
    assert await bench.error("clear namespace all") == "bad: no\nworse: v: x\nworse: w: y"
    assert sorted(destroyed(bench)) == ["bad", "exp", "minimega", "worse"]
    assert bench.session.namespace == "minimega"


async def test_a_namespace_called_like_the_beginning_of_all() -> None:
    bench = EngineBench(world("a", "exp"))
    await bench.run("clear namespace a")
    assert destroyed(bench) == ["a"]


async def test_completion_offers_names_and_all() -> None:
    bench = EngineBench(world("exp", "minimega"))
    assert await bench.engine.suggest("clear namespace ", bench.session) == [
        "clear namespace all ",
        "clear namespace exp ",
        "clear namespace minimega ",
    ]


async def test_completion_inside_a_namespace_offers_what_is_there() -> None:
    def vms(asked: Asked) -> Message:
        return VmNames(uuids={f"{asked.namespace}-vm": "uuid"})

    bench = EngineBench({GetVmNames: vms})
    for line, name in [("", "minimega-vm"), ("namespace exp ", "exp-vm"), (".csv t namespace a namespace b ", "b-vm")]:
        assert f"{line}vm kill {name} " in await bench.engine.suggest(f"{line}vm kill ", bench.session)
    assert bench.session.namespace == "minimega"


async def test_clear_all_runs_every_part_whatever_the_others_do() -> None:
    parts: dict[type[Message], Any] = {
        KillDnsmasqs: Ack(),
        ClearVlans: Ack(),
        ClearPipelines: NotFoundError("gone"),
        DeletePipes: Ack(),
    }
    bench = EngineBench(world("exp", exp="no") | parts)
    await bench.run("echo x")
    groups = await bench.run(".json true clear all")
    errors = [[response.error for response in group.responses] for group in groups]
    assert errors == [[""], ["exp: no"], [""], ["gone"], [""], [""]]
    assert ClearVlans(prefix="all") in [asked.request for asked in bench.bus.asked]
    assert all(group.output and group.output.form == "json" for group in groups)
    assert sorted(destroyed(bench)) == ["exp", "minimega"]
    assert bench.session.history.lines == (".json true clear all",)


async def test_an_alias_does_not_change_what_clear_all_does() -> None:
    bench = EngineBench(world())
    bench.session.aliases["clear"] = ("echo",)
    await bench.run("clear all")
    assert destroyed(bench) == []
    bench.session.aliases = {"reset": ("clear", "all"), "clear": ("echo",)}
    await bench.run("reset")
    assert destroyed(bench) == ["minimega"]


def test_every_part_is_a_command() -> None:
    bench = EngineBench()
    for line in LINES:
        match = bench.engine.compile(line, Session())
        assert match is not None and match.pattern.text.startswith(("clear ", "dnsmasq <kill"))
