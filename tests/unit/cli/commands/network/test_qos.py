"""`qos` and `tap mirror`: what is asked of whom, and what users read."""

from __future__ import annotations

from typing import Any

import pytest

from bus.errors import InvalidError, NotFoundError
from bus.messages.base import Ack, Message
from bus.messages.network import (
    ClearMirrors,
    GetInterfaces,
    GetMirrors,
    GuestInterfaces,
    GuestNic,
    Interface,
    InterfaceList,
    InterfaceReport,
    Mirror,
    Mirrors,
    MirrorTap,
    ShapeInterfaces,
    Shaping,
)
from bus.messages.vm import GetVms, VmList
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm

BOTH = tuple(GuestNic(vm_id=number, name=name, namespace="minimega") for number, name in enumerate(("web", "db")))


def bench(reactions: dict[type[Message], Any] | None = None) -> EngineBench:
    """A host with web (interfaces mega_tap0 and 1) and db (mega_tap10)."""
    guests = tuple(
        GuestInterfaces(
            vm_id=vm_id,
            name=name,
            interfaces=tuple(Interface(tap=f"mega_tap{vm_id * 10 + index}", vlan=1, mac="") for index in range(count)),
        )
        for vm_id, name, count in ((0, "web", 2), (1, "db", 1))
    )
    return EngineBench(
        {
            GetVms: found,
            GetInterfaces: InterfaceList(guests=guests),
            ShapeInterfaces: InterfaceReport(),
            MirrorTap: Ack(),
            ClearMirrors: Ack(),
            **(reactions or {}),
        }
    )


def found(asked: Asked) -> Message | NotFoundError:
    assert isinstance(asked.request, GetVms)
    vms = {"web": (make_vm(0, "web"),), "db": (make_vm(1, "db"),), "all": (make_vm(0, "web"), make_vm(1, "db"))}
    target = asked.request.target
    return VmList(vms=vms[target]) if target in vms else NotFoundError(f"vm not found: {target}")


@pytest.mark.parametrize(
    ("line", "shaping"),
    [
        ("rate 10 mbit", Shaping(rate_bps=10_000_000, rate_text="10mbit")),
        ("rate 5 kbit", Shaping(rate_bps=5000, rate_text="5kbit")),
        ("rate 100 gbit", Shaping(rate_bps=100_000_000_000, rate_text="100gbit")),
        ("rate 010 m", Shaping(rate_bps=10_000_000, rate_text="10mbit")),
        ("delay 100ms", Shaping(delay_us=100_000)),
        ("delay 100", Shaping(delay_us=100_000)),
        ("delay 1.5s", Shaping(delay_us=1_500_000)),
        ("delay 1us", Shaping(delay_us=1)),
        ("delay 1ns", Shaping(delay_us=1)),
        ("delay 4m", Shaping(delay_us=240_000_000)),
        ("jitter 2s", Shaping(jitter_us=2_000_000)),
        ("loss 0.25", Shaping(loss_percent=0.25)),
        ("corrupt 99.9", Shaping(corrupt_percent=99.9)),
    ],
)
async def test_one_constraint(line: str, shaping: Shaping) -> None:
    one = bench()
    assert await one.text(f"qos add all 1 {line}") == ""
    expected = ShapeInterfaces(vms=BOTH, index=1, shaping=shaping)
    assert (one.bus.asked[-1].to, one.bus.asked[-1].request) == ("network@n1", expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qos add all all loss 5", ShapeInterfaces(vms=BOTH, shaping=Shaping(loss_percent=5))),
        ("qos add all 0 loss 0", ShapeInterfaces(vms=BOTH, index=0, without=("loss_percent",))),
        ("qos add all 0 delay 0s", ShapeInterfaces(vms=BOTH, index=0, without=("delay_us",))),
        ("clear qos all", ShapeInterfaces(vms=BOTH, clear=True)),
        ("clear qos all all", ShapeInterfaces(vms=BOTH, clear=True)),
        ("clear qos all 3", ShapeInterfaces(vms=BOTH, index=3, clear=True)),
    ],
)
async def test_which_interfaces_and_what_goes(line: str, expected: ShapeInterfaces) -> None:
    one = bench()
    assert await one.text(line) == ""
    assert one.bus.asked[-1].request == expected


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 loss 100", "invalid loss: `100`: "),
        ("0 loss -1", "invalid loss: `-1`: "),
        ("0 loss nan", "invalid loss: `nan`: "),
        ("0 loss x", "invalid loss: `x`: "),
        ("0 corrupt inf", "invalid corruption: `inf`: "),
        ("0 delay 5 parsecs", "invalid command"),
        ("0 delay 5parsecs", "invalid duration: `5parsecs`: say for instance "),
        ("0 delay -5ms", "delay cannot be negative"),
        ("0 delay -5", "delay cannot be negative"),
        ("0 delay 241s", "invalid duration: `241s`: a delay is at most 240s"),
        ("0 delay 100000h", "invalid duration: `100000h`: a delay is at most 240s"),
        ("0 jitter 2.1s", "invalid duration: `2.1s`: a jitter is at most 2s"),
        ("0 rate 0 mbit", "invalid rate: `0`: it is a whole number, from 1kbit to 100gbit"),
        ("0 rate -1 mbit", "invalid rate: `-1`: "),
        ("0 rate 1.5 mbit", "invalid rate: `1.5`: "),
        ("0 rate 101 gbit", "invalid rate: `101`: "),
        ("0 rate 99999999999999999999 kbit", "invalid rate: `99999999999999999999`: "),
        ("x rate 1 mbit", "invalid tap index `x`: "),
        ("-1 rate 1 mbit", "invalid tap index `-1`: "),
        ("99999999999999999999 rate 1 mbit", "invalid tap index `99999999999999999999`: "),
    ],
)
async def test_bad_words_change_nothing(line: str, sentence: str) -> None:
    one = bench()
    assert (await one.error(f"qos add all {line}")).startswith(sentence)
    assert not any(isinstance(asked.request, ShapeInterfaces) for asked in one.bus.asked)


async def test_what_networks_say_is_shown() -> None:
    one = bench({ShapeInterfaces: InterfaceReport(errors=("web: no sch_netem",), warnings=("slow",))})
    answer = await one.one("qos add all 0 delay 1s")
    assert (answer.text, answer.error) == ("warning: slow", "web: no sch_netem")
    assert await one.error("qos add nobody 0 delay 1s") == "vm not found: nobody"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tap mirror a b", [MirrorTap(source="a", destination="b")]),
        ("tap mirror a b br1", [MirrorTap(source="a", destination="b", bridge="br1")]),
        ("tap mirror web 1 db 0", [MirrorTap(source="mega_tap1", destination="mega_tap10")]),
        ("tap mirror web 0 web 1", [MirrorTap(source="mega_tap0", destination="mega_tap1")]),
        ("clear tap mirror", [ClearMirrors()]),
        ("clear tap mirror b", [ClearMirrors(destination="b")]),
        ("clear tap mirror web 1", [ClearMirrors(destination="mega_tap1")]),
        ("clear tap mirror web all", [ClearMirrors(destination="mega_tap0"), ClearMirrors(destination="mega_tap1")]),
    ],
)
async def test_mirrors(line: str, expected: list[Message]) -> None:
    one = bench()
    assert await one.text(line) == ""
    assert [asked.request for asked in one.bus.asked if isinstance(asked.request, MirrorTap | ClearMirrors)] == expected


async def test_mirrors_are_listed() -> None:
    one = bench({GetMirrors: Mirrors(mirrors=(Mirror(source="a", destination="b"),))})
    answer = await one.one("tap mirror")
    assert (answer.header, answer.rows) == (("source", "destination"), [("a", "b")])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tap mirror web 0 nobody 0", "vms are not colocated or invalid vm name: nobody"),
        ("tap mirror web 2 db 0", "no network 2, VM only has 2 networks: web"),
        ("tap mirror web 0 db 1", "no network 1, VM only has 1 network: db"),
        ("tap mirror web all db 0", "invalid tap index `all`: interfaces are numbered 0, 1, 2, ..."),
        ("tap mirror web x db 0", "invalid tap index `x`: interfaces are numbered 0, 1, 2, ..."),
        ("tap mirror all 0 db 0", "say one VM, not 2 of them: all"),
        ("clear tap mirror nobody 0", "vm not found: nobody"),
        ("clear tap mirror web 7", "no network 7, VM only has 2 networks: web"),
    ],
)
async def test_mirrors_that_cannot_be(line: str, sentence: str) -> None:
    one = bench()
    error = await one.error(line)
    assert error.startswith(sentence)
    assert "or say" not in error
    assert not any(isinstance(asked.request, MirrorTap | ClearMirrors) for asked in one.bus.asked)


async def test_what_the_owner_refuses_is_shown() -> None:
    one = bench(
        {MirrorTap: InvalidError("cannot mirror tap to itself"), ClearMirrors: NotFoundError("not a mirror: mega_tap0")}
    )
    assert await one.error("tap mirror web 0 web 0") == "cannot mirror tap to itself"
    assert await one.error("clear tap mirror web 0") == "not a mirror: mega_tap0"
    assert await one.text("clear tap mirror web all") == ""
