"""Whole command lines and what is printed of their answers, to the byte."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import BusError, UnavailableError
from bus.language.ranges import fold
from bus.messages.base import Message
from bus.messages.namespace import QueueVms, SetConfig
from bus.messages.vm import GetHostLoad, GetVms, HostLoad, VmList, VmReport, VmState
from cli.answers.render import render, render_errors
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm

VMS = {
    "n1": (make_vm(10, "web", tags={"role": "front"}), make_vm(9, "db", VmState.QUIT)),
    "n2": (make_vm(2, "a b", tags={"k": 'q"x'}),),
    "n3": (),
}


def host_of(asked: Asked) -> str:
    """The host that a request goes to."""
    return asked.to.partition("@")[2]


def load(asked: Asked) -> HostLoad:
    """n1 and n2 have the same CPUs, n3 has others."""
    host = host_of(asked)
    return HostLoad(host=host, cpus=8 if host == "n3" else 2, mem_total_mib=1024, mem_used_mib=1, vms=1)


def bench(hosts: tuple[str, ...] = ("n1", "n2", "n3"), **more: Any) -> EngineBench:
    """Three hosts with three VMs."""
    reactions: dict[type[Message], Any] = {
        GetVms: lambda asked: VmList(vms=VMS[host_of(asked)]),
        GetHostLoad: load,
        QueueVms: VmReport(errors=("x: no filesystem", "y: no filesystem")),
    }
    return EngineBench(reactions, hosts=hosts)


async def printed(line: str, bench_: EngineBench | None = None) -> str:
    """What a client of the command socket prints: text and errors of each group."""
    chosen = bench_ or bench()
    parts = []
    for group in await chosen.run(line):
        parts += [render(group, chosen.session.output, fold), render_errors(group)]
    return "\n".join(filter(None, parts))


TABLE = "host | name\nn1   | db\nn1   | web\nn2   | a b"
BARE = "n1   | db\nn1   | web\nn2   | a b"
CSV = "host,name\nn1,db\nn1,web\nn2,a b"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (".columns name vm info", TABLE),
        (".headers false .columns name vm info", BARE),
        (".headers false .headers true .columns name vm info", BARE),
        (".headers true .headers false .columns name vm info", TABLE),
        (".columns name .headers false vm info", BARE),
        ("namespace exp .headers false .columns name namespace exp2 vm info", BARE),
        (".annotate false .columns name vm info", "name\na b\ndb\nweb"),
        (".annotate false .columns name,host vm info", "name | host\na b  | n2\ndb   | n1\nweb  | n1"),
        (".sort false .columns id vm info", "host | id\nn1   | 10\nn1   | 9\nn2   | 2"),
        (".columns id vm info", "host | id\nn1   | 9\nn1   | 10\nn2   | 2"),
        (".csv true .columns name vm info", CSV),
        (".csv true .csv false .columns name vm info", CSV),
        (".csv false .csv true .columns name vm info", TABLE),
        (".json false .csv true .columns name vm info", CSV),
        (".csv true .json true .columns name vm info", CSV),
        (
            ".csv true .annotate false .headers false .columns host,id,tags vm info",
            'n1,9,{}\nn1,10,"{""role"":""front""}"\nn2,2,"{""k"":""q\\""x""}"',
        ),
        (".csv true host cpus", "n3: 8\nn[1-2]: 2"),
        (".csv f host cpus", "n3: 8\nn[1-2]: 2"),
        (".columns name,name,state vm info", "\n".join([
            "host | name | name | state", "n1   | db   | db   | QUIT", "n1   | web  | web  | RUNNING",
            "n2   | a b  | a b  | RUNNING",
        ])),
        (".columns host vm info", "host\nn1\nn1\nn2"),
        (".filter name=nobody vm info", ""),
        (".csv true .filter name=nobody vm info", ""),
    ],
)  # fmt: skip
async def test_tables(line: str, expected: str) -> None:
    assert await printed(line) == expected


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (".filter state=running", ["a b", "web"]),
        (".filter STATE=RUN", []),
        (".filter state~run", ["a b", "web"]),
        (".filter state!=running", ["db"]),
        (".filter state!~run", ["db"]),
        (".filter tags=front", ["web"]),
        (".filter tags!=front", ["a b", "db"]),
        (".filter tags~ROLE", ["web"]),
        (".filter vlan=x", []),
        (".filter vlan=", ["a b", "db", "web"]),
        (".filter vlan!=x", ["a b", "db", "web"]),
        (".filter host=n2", ["a b"]),
        (".filter HOST!=n2", ["db", "web"]),
        (".filter host~1", ["db", "web"]),
        ('.filter "name=a b"', ["a b"]),
        (".filter preinit=", ["a b", "db", "web"]),
        (".filter state=running .filter host=n1", ["web"]),
        (".filter id!=2 .filter sta=running", ["web"]),
    ],
)
async def test_filters(filters: str, names: list[str]) -> None:
    shown = await printed(f".annotate false .headers false .columns name {filters} vm info")
    assert shown.splitlines() == names


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (".filter nope=1 vm info", "no such column `nope`"),
        (".filter m=1 vm info", "ambiguous column `m`: it could be mac, memory, migrate"),
        (".filter hos=n1 vm info", ""),
        (".columns nope vm info", "no such column `nope`"),
        (".columns HOSTN,ID vm info", ""),
        (".columns name, vm info", "no such column ``"),
        (".filter state=running .columns name vm info", "no such column `state`"),
        (".columns state .columns name vm info", "no such column `state`"),
        (".filter x vm info", "invalid filter, see help: expected COLUMN=VALUE, !=, ~ (contains) or !~, not `x`"),
        (".filter =running vm info", "invalid filter, see help: `=running` names no column"),
        (".filter state~=x vm info", ""),
    ],
)  # fmt: skip
async def test_an_error_replaces_the_whole_group(line: str, sentence: str) -> None:
    (group,) = await bench().run(line)
    errors = [(response.host, response.error) for response in group.responses if response.error]
    assert errors == ([("n1", sentence)] if sentence else [])
    assert (len(group.responses) == 1) == bool(sentence)


@pytest.mark.parametrize("line", [".json true .filter x=1 vm info", ".filter x=1 .json true vm info"])
async def test_the_form_of_such_an_error(line: str) -> None:
    one = '[{"Host":"n1","Response":"","Header":null,"Tabular":null,"Error":"no such column `x`","Data":null}]'
    assert await printed(line) == f"{one}\nError (n1): no such column `x`"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("host cpus", "n3: 8\nn[1-2]: 2"),
        (".compress false host cpus", "n1: 2\nn2: 2\nn3: 8"),
        (".annotate false host cpus", "8\n2"),
        (".annotate false .compress false host cpus", "2\n2\n8"),
        (".compress true .compress false host cpus", "n3: 8\nn[1-2]: 2"),
        (".filter host!=n1 host cpus", "n2: 2\nn3: 8"),
        (".filter host=n2 host cpus", "n2: 2"),
        (".filter cpus=9 host cpus", "n3: 8\nn[1-2]: 2"),
        (".columns nope host cpus", "n3: 8\nn[1-2]: 2"),
        ("ns hosts", "n1: n[1-3]"),
        ("host name", "n1: n1\nn2: n2\nn3: n3"),
        ('.annotate false echo "" y', "y"),
        (r".annotate false echo \#x a#b", "#x a"),
        ('echo "one\\ntwo"', "n1: one\ntwo"),
        ("vm launch container x", "Error (n1): x: no filesystem\ny: no filesystem"),
    ],
)
async def test_texts(line: str, expected: str) -> None:
    assert await printed(line) == expected


async def test_a_host_that_fails_is_beside_the_others() -> None:
    async def react(asked: Asked) -> Message:
        if host_of(asked) == "n2":
            raise UnavailableError("nobody is at vm@n2")
        return VmList(vms=VMS[host_of(asked)])

    failing = bench()
    failing.bus.reactions[GetVms] = react
    expected = "host | name\nn1   | db\nn1   | web\nError (n2): nobody is at vm@n2"
    assert await printed(".columns name vm info", failing) == expected
    # A filter on the host hides no error: the command itself may have failed.
    assert await printed(".filter host=n3 .columns name vm info", failing) == "Error (n2): nobody is at vm@n2"


@pytest.mark.parametrize(
    ("lines", "shown", "expected"),
    [
        ([], ".csv", "n1: false"),
        ([".csv true"], ".csv", "n1: true"),
        ([".csv true", ".json true"], ".csv", "false"),
        ([".csv true", ".json false"], ".csv", "n1: true"),
        ([".json true", ".csv true"], ".json", "n1: false"),
        ([".annotate false"], ".annotate", "false"),
        ([".csv t .headers false"], ".headers", "n1: false"),
    ],
)
async def test_settings(lines: list[str], shown: str, expected: str) -> None:
    session = bench()
    for line in lines:
        await session.run(line)
    if expected == "false" and ".json true" in lines:
        expected = '[{"Host":"n1","Response":"false","Header":null,"Tabular":null,"Error":"","Data":null}]'
    assert await printed(shown, session) == expected


async def test_a_prefix_changes_no_setting() -> None:
    session = bench()
    before = session.session.output
    await session.run(".csv true .annotate false .sort false .headers false .compress false .json true vm info")
    assert session.session.output == before


async def test_json_answers_in_json_at_once() -> None:
    one = '[{"Host":"n1","Response":"","Header":null,"Tabular":null,"Error":"","Data":null}]'
    session = bench()
    assert await printed(".json true", session) == one
    assert await printed(".json false", session) == ""


async def test_json_of_several_hosts_has_everything() -> None:
    text = await printed(".json true .columns name .filter name=a vm info", bench(("n2", "n3")))
    assert text.startswith('[{"Host":"n2","Response":"","Header":["name"],"Tabular":[],"Error":"","Data":[{"vm_id":2')
    assert text.endswith('{"Host":"n3","Response":"","Header":["name"],"Tabular":[],"Error":"","Data":[]}]')


async def test_a_failing_command_is_recorded_and_a_wrong_one_is_not() -> None:
    session = bench()
    session.bus.reactions[SetConfig] = BusError("no")
    for line in ("vm config memory 0", "vm confik", "  # note ", ".record false vm info", "clear history x", "vm inf"):
        await session.run(line)
    assert session.session.history.lines == ("vm config memory 0", "# note", "vm inf")
