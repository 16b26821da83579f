"""Interfaces in configurations: aliases stay aliases, numbers are given in time."""

from __future__ import annotations

import msgspec
import pytest

from actors.namespace.state import step
from actors.namespace.table import NamespaceTable, first_table
from bus.actor.step import Ask, Fail
from bus.messages.namespace import (
    CloneConfig,
    LaunchQueue,
    QueueVms,
    RestoreConfig,
    SaveConfig,
    SetConfig,
    SetQueueing,
)
from bus.messages.network import Netspec
from bus.messages.schedule import PlaceVms
from bus.messages.vlan import (
    AddVlan,
    BlacklistVlan,
    SetVlanRange,
)
from bus.messages.vm import GuestKind, VmConfig, VmInfo, VmList, VmNames, VmState
from tests.unit.actors.namespace.vlan_requests import NS, clear, do, ok, refused
from tests.unit.actors.steps import answer, replies, the


@pytest.fixture
def table() -> NamespaceTable:
    """A fresh host."""
    return first_table("h1", "/base/files")


def test_interfaces_of_the_draft(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="net", words=("LAN", "br,7,00-11-22-33-44-5A", "exp//LAN,igb")))
    assert table.get(NS).draft.networks == (
        Netspec(vlan=101, alias="minimega//LAN"),
        Netspec(bridge="br", vlan=7, mac="00:11:22:33:44:5a"),
        Netspec(vlan=102, alias="exp//LAN", driver="igb"),
    )


@pytest.mark.parametrize("last", ["", "5000", "LAN,bogusmac", "a,b,c,d,e", "x" * 65])
def test_a_wrong_interface_leaves_all_as_it_was(table: NamespaceTable, last: str) -> None:
    ok(table, SetConfig(param="net", words=("LAN",)))
    before = table.get(NS).draft
    assert refused(table, SetConfig(param="net", words=("WAN", "300", last)))[0] == "invalid"
    assert table.get(NS).draft == before


def test_a_configuration_that_is_too_large_costs_no_number(table: NamespaceTable) -> None:
    sentence = "a VM can have 64 network interfaces, not 65"
    assert refused(table, SetConfig(param="net", words=("A",) * 65)) == ("invalid", sentence)


def test_saved_aliases_stay_aliases(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="net", words=("LAN", "200")))
    ok(table, SaveConfig(name="a"))
    clear(table)
    ok(table, AddVlan(alias="LAN", number=300))
    ok(table, RestoreConfig(name="a"))
    assert [spec.vlan for spec in table.get(NS).draft.networks] == [300, 200]


def test_the_aliases_of_a_clone_stay_aliases(table: NamespaceTable) -> None:
    networks = (Netspec(vlan=150, alias="minimega//LAN", mac="00:11:22:33:44:55"), Netspec(vlan=151))
    known = {"namespace": NS, "host": "h1", "uuid": "u", "created_s": 0.0, "state": VmState.QUIT}
    vm = msgspec.convert(
        {
            "vm_id": 1,
            "name": "a",
            "kind": "container",
            "config": msgspec.to_builtins(VmConfig(networks=networks)),
            **known,
        },
        VmInfo,
    )
    ask = the(Ask, do(table, CloneConfig(vm="a")))
    step(table, answer(ask, VmList(vms=(vm,))))
    assert [spec.vlan for spec in table.get(NS).draft.networks] == [101, 151]


def test_what_is_queued_gets_the_numbers_of_its_launch(table: NamespaceTable) -> None:
    ok(table, SetQueueing(queueing=True))
    ok(table, SetConfig(param="net", words=("LAN",)))
    names = the(Ask, do(table, QueueVms(kind=GuestKind.CONTAINER, names="a")))
    step(table, answer(names, VmNames(uuids={})))
    clear(table)
    ok(table, AddVlan(alias="OTHER", number=101))
    again = the(Ask, do(table, LaunchQueue()))
    place = the(Ask, step(table, answer(again, VmNames(uuids={}))))
    assert isinstance(place.body, PlaceVms)
    assert [spec.vlan for spec in place.body.batches[0].config.networks] == [102]


def test_without_numbers_nothing_is_launched_and_the_queue_stays(table: NamespaceTable) -> None:
    ok(table, SetQueueing(queueing=True))
    ok(table, SetConfig(param="net", words=("LAN",)))
    names = the(Ask, do(table, QueueVms(kind=GuestKind.CONTAINER, names="a")))
    step(table, answer(names, VmNames(uuids={})))
    clear(table)
    ok(table, SetVlanRange(minimum=10, maximum=11))
    ok(table, BlacklistVlan(number=10))
    again = the(Ask, do(table, LaunchQueue()))
    reply = replies(step(table, answer(again, VmNames(uuids={}))))["m1"]
    assert isinstance(reply, Fail)
    assert (reply.code, reply.message) == ("unavailable", "out of VLANs")
    assert [batch.names for batch in table.get(NS).queue] == [("a",)]
    assert table.launches == {}
