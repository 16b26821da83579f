"""The namespace actor's step: drafts, saved configurations, clones, queue and launch."""

from __future__ import annotations

import re

import msgspec
import pytest

from actors.namespace.config import MAX_CONFIG, MAX_SAVED
from actors.namespace.state import name_error, namespace_list, step
from actors.namespace.table import Located, NamespaceTable, first_table
from bus.actor.step import Ask, AskFailed, Effect, Fail
from bus.messages.base import Ack, Message, Request
from bus.messages.namespace import (
    ClearConfig,
    CloneConfig,
    FlushQueue,
    LaunchQueue,
    OpenNamespace,
    QueueVms,
    RestoreConfig,
    SaveConfig,
    SetConfig,
    SetQueueing,
)
from bus.messages.schedule import PlaceVms
from bus.messages.vm import (
    GetVmNames,
    GetVms,
    GuestKind,
    VmConfig,
    VmInfo,
    VmList,
    VmNames,
    VmReport,
    VmResult,
    VmState,
)
from tests.unit.actors.steps import answer, only, received, replies, the, through_snapshot

NS = "minimega"


@pytest.fixture
def table() -> NamespaceTable:
    """A fresh host."""
    return first_table("h1", "/base/files")


def do(table: NamespaceTable, body: Request[Message], msg_id: str = "m1", namespace: str = NS) -> list[Effect]:
    """One request."""
    return step(table, received(body, msg_id, namespace=namespace))


def ok(table: NamespaceTable, body: Request[Message], namespace: str = NS) -> None:
    """A request that must succeed at once."""
    assert replies(do(table, body, "ok", namespace)) == {"ok": Ack()}


def refused(effects: list[Effect], msg_id: str = "m1") -> tuple[str, str]:
    """Code and sentence of a failure."""
    reply = replies(effects)[msg_id]
    assert isinstance(reply, Fail), reply
    return reply.code, reply.message


# --- configuration


def test_the_draft_of_each_namespace(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="memory", words=("64",)))
    ok(table, SetConfig(param="filesystem", words=("root",)), "exp1")
    assert table.get(NS).draft == VmConfig(memory_mib=64)
    assert table.get("exp1").draft == VmConfig(filesystem="/base/files/root")
    assert table.get("unheard-of").draft == VmConfig()
    ok(table, ClearConfig(param="memory"))
    assert table.get(NS).draft == VmConfig()


def test_a_wrong_value(table: NamespaceTable) -> None:
    effects = do(table, SetConfig(param="vcpus", words=("0",)))
    assert refused(effects) == ("invalid", "vcpus must be between 1 and 65536, not 0")


def test_save_and_restore(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="memory", words=("64",)))
    ok(table, SaveConfig(name="small"))
    ok(table, ClearConfig())
    ok(table, RestoreConfig(name="small"))
    assert table.get(NS).draft == VmConfig(memory_mib=64)
    assert refused(do(table, RestoreConfig(name="big"))) == ("not_found", "config big does not exist")
    assert refused(do(table, RestoreConfig(name="small"), namespace="exp1"))[0] == "not_found"
    assert refused(do(table, SaveConfig(name="a/b")))[0] == "invalid"


def test_a_configuration_that_is_too_large(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="tags", words=("a", "x" * (MAX_CONFIG // 2))))
    before = table.get(NS).draft
    code, sentence = refused(do(table, SetConfig(param="tags", words=("b", "x" * (MAX_CONFIG // 2)))))
    assert code == "invalid"
    assert re.fullmatch(rf"the configuration would have \d+ bytes, at most {MAX_CONFIG} are allowed", sentence)
    assert table.get(NS).draft == before


def test_saved_configurations_are_so_many(table: NamespaceTable) -> None:
    for number in range(MAX_SAVED):
        ok(table, SaveConfig(name=f"c{number}"))
    ok(table, SaveConfig(name="c0"))
    sentence = f"there are {MAX_SAVED} saved configs already, which is as many as can be"
    assert refused(do(table, SaveConfig(name="more"))) == ("invalid", sentence)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "all", "x" * 65, ".."])
def test_names_of_namespaces(table: NamespaceTable, name: str) -> None:
    assert name_error(name)
    assert refused(do(table, OpenNamespace(), namespace=name)) == ("invalid", name_error(name))
    assert list(table.namespaces) == [NS]


def test_namespaces_come_into_being(table: NamespaceTable) -> None:
    ok(table, OpenNamespace(), "exp1")
    ok(table, SetQueueing(queueing=True), "exp2")
    assert [(info.name, info.hosts, info.queueing) for info in namespace_list(table).namespaces] == [
        ("exp1", ("h1",), False),
        ("exp2", ("h1",), True),
        (NS, ("h1",), False),
    ]
    step(table, Located(host="h2", files_dir="/elsewhere"))
    assert {info.hosts for info in namespace_list(table).namespaces} == {("h2",)}


VM = VmInfo(
    vm_id=3,
    name="web",
    namespace=NS,
    host="h1",
    kind=GuestKind.CONTAINER,
    state=VmState.ERROR,
    uuid="u",
    created_s=1.0,
    config=VmConfig(filesystem="/fs", uuid="u", memory_mib=64, kernel="/k"),
    tags={"a": "b", "error": "no"},
)


def test_clone(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="initrd", words=("/i",)))
    ask = the(Ask, do(table, CloneConfig(vm="web")))
    assert (ask.to, ask.body) == ("vm@h1", GetVms(target="web"))
    assert replies(step(table, answer(ask, VmList(vms=(VM,))))) == {"m1": Ack()}
    expected = VmConfig(filesystem="/fs", memory_mib=64, initrd="/i", tags={"a": "b"})
    assert table.get(NS).draft == expected, "parameters of the other kind stay"
    assert (table.clones, table.asks) == ({}, {})


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("not_found", "vm not found: web", ("not_found", "vm not found: web")),
        ("deadline", "no answer", ("deadline", "no answer")),
    ],
)
def test_clone_of_what_is_not_there(table: NamespaceTable, code: str, message: str, expected: tuple[str, str]) -> None:
    ask = the(Ask, do(table, CloneConfig(vm="web")))
    assert refused(step(table, AskFailed(tag=ask.tag, code=code, message=message))) == expected


def test_clone_over_several_hosts(table: NamespaceTable) -> None:
    table.make(NS).hosts = ("h1", "h2")
    first, second = only(Ask, do(table, CloneConfig(vm="web")))
    assert step(table, AskFailed(tag=first.tag, code="not_found", message="vm not found: web")) == []
    assert replies(step(table, answer(second, VmList(vms=(VM,))))) == {"m1": Ack()}


@pytest.mark.parametrize("target", ["all", "a,b", "", "a["])
def test_clone_takes_one_vm(table: NamespaceTable, target: str) -> None:
    assert refused(do(table, CloneConfig(vm=target)))[0] == "invalid"


# --- launch


def queue(table: NamespaceTable, names: str, msg_id: str = "m1") -> list[Effect]:
    """`vm launch container NAMES`."""
    return do(table, QueueVms(kind=GuestKind.CONTAINER, names=names), msg_id)


def named(ask: Ask) -> list[tuple[str, ...]]:
    """Names in the batches that the scheduler is to place."""
    assert isinstance(ask.body, PlaceVms)
    return [batch.names for batch in ask.body.batches]


def test_launch_goes_through_names_to_the_scheduler(table: NamespaceTable) -> None:
    ask = the(Ask, queue(table, "a,b"))
    assert (ask.to, ask.body, ask.namespace) == ("vm@h1", GetVmNames(), NS)
    place = the(Ask, step(table, answer(ask, VmNames(uuids={"c": "u"}))))
    assert (place.to, place.cause, named(place)) == ("scheduler", "m1", [("a", "b")])
    assert isinstance(place.body, PlaceVms)
    assert place.body.hosts == ("h1",)
    report = VmReport(results=(VmResult(name="a", error="a: no"),), errors=("a: no",))
    assert replies(step(table, answer(place, report))) == {"m1": report}
    assert (table.get(NS).queue, table.launches, table.asks) == ([], {}, {})


def test_generated_names_skip_those_taken(table: NamespaceTable) -> None:
    names = the(Ask, queue(table, "3"))
    place = the(Ask, step(table, answer(names, VmNames(uuids={"vm-1": "u"}))))
    assert named(place) == [("vm-0", "vm-2", "vm-3")]
    names = the(Ask, queue(table, "vm-4", "m2"))
    step(table, answer(names, VmNames(uuids={})))
    names = the(Ask, queue(table, "1", "m3"))
    place = the(Ask, step(table, answer(names, VmNames(uuids={}))))
    assert named(place) == [("vm-5",)], "vm-4 is on its way to a host"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("0", "invalid number of vms (must be > 0)"),
        ("a,a", "`a` is specified twice in VMs to launch"),
        ("all", "invalid vm name, `all` is a reserved word"),
        ("a[1-999999]", "a[1-999999] gives too many names: at most 100000 are allowed"),
        ("10001", "cannot launch 10001 VMs at once: at most 10000 are allowed"),
    ],
)
def test_bad_names(table: NamespaceTable, names: str, sentence: str) -> None:
    assert refused(queue(table, names)) == ("invalid", sentence)
    assert table.launches == {}


def test_one_uuid_for_one_vm(table: NamespaceTable) -> None:
    ok(table, SetConfig(param="uuid", words=("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",)))
    assert refused(queue(table, "2")) == ("invalid", "cannot launch multiple VMs with a pre-configured UUID")


UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.mark.parametrize(
    ("uuid", "taken", "queued", "sentence"),
    [
        ("", {"a": "u"}, "", "vm already exists with name `a`"),
        (UUID, {"x": UUID}, "", f"vm already exists with UUID `{UUID}`"),
        ("", {}, "a", "vm already queued with name `a`"),
        (UUID, {}, "b", f"vm already queued with UUID `{UUID}`"),
    ],
)
def test_what_is_taken(table: NamespaceTable, uuid: str, taken: dict[str, str], queued: str, sentence: str) -> None:
    ok(table, SetConfig(param="uuid", words=(uuid,)))
    if queued:
        ok(table, SetQueueing(queueing=True))
        step(table, answer(the(Ask, queue(table, queued)), VmNames(uuids={})))
        ok(table, SetQueueing(queueing=False))
    ask = the(Ask, queue(table, "a", "m2"))
    assert refused(step(table, answer(ask, VmNames(uuids=taken))), "m2") == ("conflict", sentence)
    assert sum(len(batch.names) for batch in table.get(NS).queue) == (1 if queued else 0)


def test_queueing(table: NamespaceTable) -> None:
    ok(table, SetQueueing(queueing=True))
    for names in ("a", "2"):
        assert replies(step(table, answer(the(Ask, queue(table, names)), VmNames(uuids={})))) == {"m1": VmReport()}
    ok(table, SetConfig(param="memory", words=("64",)))
    assert [(b.names, b.config.memory_mib) for b in table.get(NS).queue] == [(("a",), 2048), (("", ""), 2048)]
    names_ask = the(Ask, do(table, LaunchQueue()))
    place = the(Ask, step(table, answer(names_ask, VmNames(uuids={"vm-0": "u"}))))
    assert named(place) == [("a",), ("vm-1", "vm-2")]


def test_a_second_launch_of_a_name_under_way(table: NamespaceTable) -> None:
    first, second = the(Ask, queue(table, "a", "m1")), the(Ask, queue(table, "a", "m2"))
    step(table, answer(first, VmNames(uuids={})))
    effects = step(table, answer(second, VmNames(uuids={})))
    assert refused(effects, "m2") == ("conflict", "vm already queued with name `a`")


def test_flush_and_nothing_to_launch(table: NamespaceTable) -> None:
    sentence = "namespace must contain at least one queued VM to launch VMs"
    assert refused(do(table, LaunchQueue())) == ("invalid", sentence)
    ok(table, SetQueueing(queueing=True))
    step(table, answer(the(Ask, queue(table, "a")), VmNames(uuids={})))
    racing = the(Ask, do(table, LaunchQueue(), "m2"))
    ok(table, FlushQueue())
    assert refused(step(table, answer(racing, VmNames(uuids={}))), "m2") == ("invalid", sentence)


def test_without_hosts(table: NamespaceTable) -> None:
    table.make(NS).hosts = ()
    sentence = "namespace must contain at least one host to launch VMs"
    assert refused(queue(table, "a")) == ("invalid", sentence)
    assert table.get(NS).queue == []


@pytest.mark.parametrize(
    ("by_queue", "code", "left"),
    [
        (False, "conflict", [("q",)]),
        (True, "conflict", [("q",)]),
        (False, "deadline", []),
        (True, "cancelled", []),
    ],
)
def test_a_placement_that_fails(table: NamespaceTable, by_queue: bool, code: str, left: list[tuple[str, ...]]) -> None:
    """What was queued before stays, what the command brought is dropped; unknown outcome: nothing is tried twice."""
    ok(table, SetQueueing(queueing=True))
    step(table, answer(the(Ask, queue(table, "q")), VmNames(uuids={})))
    ok(table, SetQueueing(queueing=False))
    ask = the(Ask, do(table, LaunchQueue()) if by_queue else queue(table, "a"))
    place = the(Ask, step(table, answer(ask, VmNames(uuids={}))))
    restored = through_snapshot(table)
    assert msgspec.to_builtins(restored) == msgspec.to_builtins(table)
    effects = step(restored, AskFailed(tag=place.tag, code=code, message="no"))
    assert refused(effects) == (code, "no")
    assert [batch.names for batch in restored.get(NS).queue] == left


def test_names_that_cannot_be_asked_for(table: NamespaceTable) -> None:
    ask = the(Ask, queue(table, "a"))
    effects = step(table, AskFailed(tag=ask.tag, code="unreachable", message="nobody at vm@h1"))
    assert refused(effects) == ("unreachable", "nobody at vm@h1")
    assert (table.launches, table.get(NS).queue) == ({}, [])
