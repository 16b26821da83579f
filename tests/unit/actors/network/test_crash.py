"""The network actor after a crash, and when somebody has changed the kernel's state behind its back."""

from __future__ import annotations

from typing import Any

import pytest

from actors.network.audit import Picture, compare, picture
from actors.network.operations import Audit, Repair, Worked
from bus.actor.step import Fail
from bus.messages.network import (
    AddInterfaces,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    InterfaceReport,
    MirrorTap,
    PlugGuests,
    PlugReport,
    ShapeInterfaces,
    Shaping,
    TrunkBridge,
    UnplugGuests,
)
from shims.network.base import HostPort, Port, Seen, Segment, Survey
from tests.unit.actors.network.model import PID, Model, guest, logged, net, told
from tests.unit.actors.steps import through_journal

LAN = Segment("mega_bridge", 101)
OTHER = Segment("mega_bridge", 9)
DEAD_PID = 2**31 - 1


def full() -> Model:
    """Some of everything."""
    model = Model()
    model.fabric.host |= {"eth1", "eth2"}
    model.plug(guest(1, net(101), net(102)), guest(2, net(101)))
    model.ask(CreateTap(vlan=101, name="see", address="10.0.0.1/24"))
    model.ask(MirrorTap(source="mega_tap0", destination="see"))
    model.ask(TrunkBridge(bridge="br", interface="eth1"))
    model.ask(ShapeInterfaces(vms=(guest(1),), index=0, shaping=Shaping(rate_bps=10_000)))
    model.effects.clear()
    return model


def kernel(model: Model) -> tuple[Any, ...]:
    """All that exists."""
    fabric = model.fabric
    return (
        dict(sorted(fabric.ports.items())),
        dict(fabric.taps),
        set(fabric.trunks),
        {name: one for name, one in fabric.shapings.items() if one != Shaping()},
        dict(fabric.mirrors),
    )


REQUESTS = [
    PlugGuests(guests=(guest(3, net(101), net(5, bridge="new")), guest(4, net(5000)))),
    PlugGuests(guests=(guest(1),)),
    AddInterfaces(vms=(guest(1, net(7)),)),
    UnplugGuests(vm_ids=(1, 2)),
    ForgetGuestNics(vm_ids=(1,)),
    ConnectInterfaces(vms=(guest(1), guest(2)), index=0, vlan=9),
    ShapeInterfaces(vms=(guest(1),), shaping=Shaping(delay_us=3)),
    CreateTap(vlan=5),
    CreateTap(vlan=5, name="new"),
    DeleteTaps(name="see"),
    MirrorTap(source="mega_tap1", destination="mega_tap2"),
    TrunkBridge(bridge="br", interface="eth2"),
    TrunkBridge(bridge="br", interface="eth1", remove=True),
    EndNetworks(),
]


@pytest.mark.parametrize("done", [False, True], ids=["before the kernel did it", "after it"])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_crash_in_the_middle_changes_nothing_of_the_outcome(request_: Any, done: bool) -> None:
    undisturbed = full()
    expected = undisturbed.ask(request_)
    model = full()
    model.holds = True
    msg_id = model.send(request_)
    if done:
        for effect in model.held:
            model.do(effect)
    model.holds = False
    model.crash()
    reply = model.answers[msg_id]
    assert not isinstance(reply, Fail)
    assert reply == expected
    assert kernel(model) == kernel(undisturbed)
    assert picture(model.table) == picture(undisturbed.table)
    assert told(model.audit()) == []


def test_a_crash_in_a_batch_ends_all_its_requests() -> None:
    model = full()
    model.holds = True
    ids = [model.send(PlugGuests(guests=(guest(number, net(101)),))) for number in range(10, 15)]
    (held,) = model.held
    model.fabric.refuses = {held.operation.guests[0].ports[0].name}  # type: ignore[union-attr]
    model.holds = False
    model.crash()
    replies = [reply for one in ids if isinstance(reply := model.answers[one], PlugReport)]
    assert [bool(reply.guests[0].error) for reply in replies] == [True, False, False, False, False]
    assert len(model.fabric.ports) == 3 + 4


def test_two_crashes_in_a_row() -> None:
    model = full()
    model.holds = True
    msg_id = model.send(DeleteTaps(name="see"))
    model.crash()
    model.holds = True
    model.crash()
    assert [type(one.operation) for one in model.held] == [Audit]
    model.release()
    assert model.answers[msg_id] == InterfaceReport()
    assert model.fabric.taps == {}


# ---------------------------------------------------------------- repairs


def test_what_has_gone_wrong_is_mended_and_told() -> None:
    model = full()
    wanted = kernel(model)
    fabric = model.fabric
    fabric._forget("mega_tap0")
    fabric.plug("mega_tap1", OTHER)
    fabric._forget("see")
    fabric.untrunk("br", "eth1")
    fabric.ports["stranger"] = Port("stranger", LAN, PID, "veth0", "02:00:00:00:00:01")
    fabric.taps["strange"] = HostPort("strange", LAN)
    fabric.trunk("br", "eth2")
    effects = model.audit()
    assert kernel(model) == wanted
    assert {tap for what, tap, _, _ in told(effects) if what == "repaired"} == {
        "mega_tap0",
        "mega_tap1",
        "see",
        "eth1",
        "eth2",
        "strange",
        "stranger",
    }
    assert logged(effects) == ["interface_repaired"] * 8  # the mirror as well
    assert told(model.audit()) == []


def test_mirrors_are_begun_again_and_strange_ones_end() -> None:
    model = full()
    wanted = kernel(model)
    model.fabric.unmirror("see")
    model.fabric.mirror("mega_tap1", "mega_tap2")
    effects = model.audit()
    assert kernel(model) == wanted
    assert [(what, tap) for what, tap, _, _ in told(effects)] == [("repaired", "mega_tap0")]


def test_a_fabric_that_is_gone_comes_back_whole() -> None:
    model = full()
    wanted = kernel(model)
    model.fabric.destroy()
    model.fabric.host.add("eth1")
    model.crash()
    assert kernel(model) == wanted


def test_guests_whose_process_is_gone_are_down() -> None:
    model = full()
    model.table.guests[1].pid = DEAD_PID
    model.table.guests[2].ticks -= 1  # its pid is another's by now
    effects = model.audit()
    assert (model.fabric.ports, model.fabric.mirrors) == ({}, {})
    assert [(one[0], one[1]) for one in told(effects)] == [
        ("disconnected", "mega_tap0"),
        ("disconnected", "mega_tap1"),
        ("disconnected", "mega_tap2"),
    ]
    reply = model.ask(UnplugGuests(vm_ids=(1, 2)))
    assert isinstance(reply, PlugReport)
    assert [one.error for one in reply.guests] == ["", ""]
    model.plug(guest(1), guest(2))
    assert (len(model.fabric.ports), model.fabric.mirrors) == (3, {"see": "mega_tap0"})


def test_what_cannot_be_mended_is_logged_and_tried_again() -> None:
    model = full()
    wanted = kernel(model)
    model.fabric._forget("mega_tap0")
    model.fabric.refuses = {"mega_tap0"}
    effects = model.audit()
    assert (logged(effects), told(effects)) == (["repair_failed"], [])
    model.fabric.refuses = {"survey"}
    assert logged(model.audit()) == ["audit_failed"]
    model.fabric.refuses = set()
    model.audit()
    assert kernel(model) == wanted


def test_a_host_tap_that_somebody_took_away_is_left_to_him() -> None:
    model = full()
    model.fabric.moved_away.add("see")
    assert told(model.audit()) == []


def test_without_anything_there_is_nothing_to_audit() -> None:
    model = Model()
    assert (model.audit(), model.fabric.calls) == ([], [])


@pytest.mark.parametrize(
    ("seen", "living", "plan"),
    [
        ({}, True, {"add_ports": ("g",), "add_taps": ("h",)}),
        ({"g": Seen(LAN), "h": Seen(LAN, is_host=True)}, True, {}),
        ({"g": Seen(None), "h": Seen(OTHER, is_host=True)}, True, {"move": ("g", "h")}),
        ({"g": Seen(LAN, is_host=True), "h": Seen(LAN, is_host=True)}, True, {"remove": ("g",), "add_ports": ("g",)}),
        ({"g": Seen(LAN), "h": Seen(LAN)}, True, {"remove": ("h",), "add_taps": ("h",)}),
        ({"g": Seen(LAN), "h": Seen(LAN, is_host=True)}, False, {"remove": ("g",), "lost": (1,)}),
        ({"h": Seen(LAN, is_host=True), "x": Seen(None)}, False, {"remove": ("x",), "lost": (1,)}),
    ],
)
def test_how_what_is_compares_with_what_should_be(
    seen: dict[str, Seen], living: bool, plan: dict[str, tuple[object, ...]]
) -> None:
    wanted = Picture(
        ports={"g": (1, Port("g", LAN, PID, "veth0", "02:00:00:00:00:01"))},
        processes={1: (PID, 5)},
        taps={"h": HostPort("h", LAN)},
    )
    found = compare(wanted, Survey(ports=seen), frozenset([1] if living else []))
    names = {
        "remove": found.remove,
        "add_ports": tuple(port.name for port in found.add_ports),
        "add_taps": tuple(tap.name for tap in found.add_taps),
        "move": tuple(name for name, _ in found.move),
        "lost": found.lost,
    }
    assert {what: some for what, some in names.items() if some} == plan


def test_outcomes_pass_the_journal() -> None:
    whole = Worked(
        number=3,
        failed="x",
        code="unavailable",
        errors={"a": "b"},
        warnings={"a": ("b", "c")},
        ticks={1: 2},
        name="n",
        repairs=(Repair("a", "b"),),
        lost=(1,),
    )
    assert through_journal(whole) == whole
