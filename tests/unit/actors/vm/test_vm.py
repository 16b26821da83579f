"""The `vm` actor's step by tables: launch, life cycle, targets."""

from __future__ import annotations

import pytest

from actors.vm.effects import (
    InstancesPrepared,
    InstancesRemoved,
    LinkNetworks,
    Outcome,
    PrepareInstances,
    RemoveInstances,
    WriteStates,
)
from actors.vm.state import step
from actors.vm.table import ERROR_TAG
from actors.vm.views import vm_list
from bus.actor.step import Ask, Fail
from bus.messages.base import Ack
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestConsole,
    GuestReport,
    GuestReports,
    KillGuests,
    ListGuests,
    PauseGuests,
    ReportConsoles,
)
from bus.messages.network import Netspec
from bus.messages.vm import (
    FlushVms,
    GuestKind,
    KillVms,
    LaunchVms,
    StartVms,
    StopVms,
    VmConfig,
    VmReport,
    VmResult,
    VmState,
)
from tests.unit.actors.steps import answer, events, only, received, replies, the
from tests.unit.actors.vm.vm_host import CONFIG, Host, errors, prepared


@pytest.fixture
def host() -> Host:
    """A host without VMs."""
    return Host()


# --- launch


def test_launch_makes_directory_then_guest_then_tells(host: Host) -> None:
    report = host.launch("a", "b")
    assert [(r.name, r.vm_id, r.error, r.host) for r in report.results] == [("a", 0, "", "h1"), ("b", 1, "", "h1")]
    assert report.errors == ()
    kinds = [type(effect).__name__ for effect in host.log]
    assert kinds == ["PrepareInstances", "Ask", "LinkNetworks", "Publish", "Publish", "Reply"]
    assert the(LinkNetworks, host.log).pids == {0: 1000, 1: 1001}
    assert events(host.log) == ["vm/minimega/a/launched/", "vm/minimega/b/launched/"]
    assert host.states() == {"a": "BUILDING", "b": "BUILDING"}
    instance = the(PrepareInstances, host.log).instances[0]
    assert (instance.vm_id, instance.name, instance.state) == (0, "a", "BUILDING")
    assert host.table.vms[0].uuid in instance.config
    assert "KVM" not in instance.config


def test_what_the_driver_is_told(host: Host) -> None:
    host.launch("a", config=VmConfig(filesystem="/fs", uuid="u-1"), namespace="exp1")
    ask = the(Ask, host.log)
    assert (ask.to, ask.cause) == ("container", "cmd")
    assert isinstance(ask.body, CreateGuests)
    (spec,) = ask.body.guests
    assert (spec.vm_id, spec.name, spec.namespace, spec.uuid, spec.instance_dir) == (0, "a", "exp1", "u-1", "/base/0")


def test_every_vm_gets_its_own_uuid(host: Host) -> None:
    host.launch("a", "b")
    assert len({vm.uuid for vm in host.table.vms.values()}) == 2


def test_hundreds_go_to_the_driver_in_chunks(host: Host) -> None:
    report = host.launch(*(f"v{n}" for n in range(60)))
    assert len(report.results) == 60
    sizes = [len(ask.body.guests) for ask in only(Ask, host.log) if isinstance(ask.body, CreateGuests)]
    assert sizes == [25, 25, 10]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (VmConfig(), "a: unable to create container without a configured filesystem"),
        (VmConfig(filesystem="/fs", memory_mib=3), "a: a container needs at least 4 MiB of memory, not 3"),
        (VmConfig(filesystem="/fs", vcpus=0), "a: a container needs at least 1 vcpu"),
        (VmConfig(filesystem="/fs", hostname="h" * 65), "a: the hostname has more than 64 bytes"),
        (
            VmConfig(filesystem="/fs", networks=(Netspec(vlan=7),) * 65),
            "a: a container has at most 64 interfaces, not 65",
        ),
    ],
)
def test_a_useless_configuration_leaves_no_record(host: Host, config: VmConfig, sentence: str) -> None:
    report = host.launch("a", config=config)
    assert report.errors == (sentence,)
    assert [(r.name, r.vm_id) for r in report.results] == [("a", -1)]
    assert host.table.vms == {}
    host.launch("b")
    assert list(host.table.vms) == [1], "the failed attempt has burnt an id"


def test_kvm_is_said_to_be_missing(host: Host) -> None:
    reply = host.do(LaunchVms(kind=GuestKind.KVM, config=CONFIG, names=("a",)))
    assert errors(reply) == ("a: this version cannot run KVM guests",)


DIRECT = VmConfig(filesystem="/fs", snapshot=False)


@pytest.mark.parametrize(
    ("first", "second", "name", "sentence"),
    [
        (CONFIG, CONFIG, "a", "a: duplicate VM name: a"),
        (VmConfig(filesystem="/fs", uuid="u"), VmConfig(filesystem="/fs", uuid="u"), "b", "b: duplicate VM UUID: u"),
        (DIRECT, CONFIG, "b", "b: filesystem conflict with vm 0: /fs"),
        (CONFIG, DIRECT, "b", "b: filesystem conflict with vm 0: /fs"),
        (DIRECT, DIRECT, "b", "b: filesystem conflict with vm 0: /fs"),
        (CONFIG, CONFIG, "b", ""),
        (DIRECT, VmConfig(filesystem="/other", snapshot=False), "b", ""),
    ],
)
def test_conflicts(host: Host, first: VmConfig, second: VmConfig, name: str, sentence: str) -> None:
    host.launch("a", config=first)
    assert host.launch(name, config=second).errors == ((sentence,) if sentence else ())


def test_conflicts_across_namespaces(host: Host) -> None:
    host.launch("a", config=DIRECT)
    assert host.launch("a", namespace="other").errors == ("a: filesystem conflict with vm 0: /fs",)
    assert host.launch("a", config=VmConfig(filesystem="/fs2"), namespace="other").errors == ()


def test_conflicts_within_one_launch(host: Host) -> None:
    assert host.launch("a", "b", config=DIRECT).errors == ("b: filesystem conflict with vm 0: /fs",)


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_launch_has_bounds(host: Host, count: int) -> None:
    reply = host.do(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=("a",) * count))
    assert isinstance(reply, Fail)
    assert (reply.code, host.table.jobs) == ("invalid", {})


def test_a_guest_that_cannot_be_made_stays_in_error_until_flush(host: Host) -> None:
    host.refuse[(CreateGuests, 0)] = "init /init does not exist"
    report = host.launch("a", "b")
    assert report.errors == ("a: init /init does not exist",)
    assert host.states() == {"a": "ERROR", "b": "BUILDING"}
    assert host.table.vms[0].tags == {ERROR_TAG: "init /init does not exist"}
    assert "vm/minimega/a/failed/" in events(host.log)
    assert errors(host.do(FlushVms(target="all"))) == ()
    assert host.states() == {"b": "BUILDING"}


def test_a_directory_that_cannot_be_made(host: Host) -> None:
    effects = step(host.table, received(LaunchVms(kind=GuestKind.CONTAINER, config=CONFIG, names=("a",))))
    assert the(PrepareInstances, effects)
    effects = step(host.table, InstancesPrepared(outcomes=(Outcome(0, "disk full"),)))
    report = replies(effects)["m1"]
    assert isinstance(report, VmReport)
    assert (report.errors, host.states()) == (("a: disk full",), {"a": "ERROR"})


# --- life cycle


def test_a_whole_life(host: Host) -> None:
    host.launch("a", "b")
    for request, asked, states, topics in [
        (StartVms(target="all"), ["StartGuests 0 1"], "RUNNING", ["started", "started"]),
        (StopVms(target="a,b"), ["PauseGuests 0 1"], "PAUSED", ["stopped", "stopped"]),
        (StartVms(target="all"), ["StartGuests 0 1"], "RUNNING", ["started", "started"]),
        (KillVms(target="all"), ["KillGuests 0 1"], "QUIT", ["quit", "quit"]),
    ]:
        assert errors(host.do(request)) == ()
        assert host.asked == asked
        assert set(host.states().values()) == {states}
        assert [topic.split("/")[3] for topic in events(host.log)] == topics
        assert the(WriteStates, host.log).states == {0: states, 1: states}
    assert errors(host.do(FlushVms())) == ()
    assert host.asked == ["ForgetGuests 0 1"]
    assert (host.table.vms, host.table.jobs, host.table.calls) == ({}, {}, {})
    assert events(host.log) == ["vm/minimega/a/flushed/", "vm/minimega/b/flushed/"]


def test_ids_are_not_used_again(host: Host) -> None:
    host.launch("a")
    host.do(KillVms(target="a"))
    host.do(FlushVms())
    host.launch("a")
    assert list(host.table.vms) == [1]


STATE_ERROR = ("VM state error: a",)


@pytest.mark.parametrize(
    ("request_type", "before", "after", "sentences"),
    [
        (StartVms, "BUILDING", "RUNNING", ()),
        (StartVms, "RUNNING", "RUNNING", STATE_ERROR),
        (StartVms, "PAUSED", "RUNNING", ()),
        (StartVms, "QUIT", "RUNNING", ()),
        (StartVms, "ERROR", "RUNNING", ()),
        (StopVms, "BUILDING", "BUILDING", STATE_ERROR),
        (StopVms, "RUNNING", "PAUSED", ()),
        (StopVms, "PAUSED", "PAUSED", STATE_ERROR),
        (StopVms, "QUIT", "QUIT", STATE_ERROR),
        (StopVms, "ERROR", "ERROR", STATE_ERROR),
        (KillVms, "BUILDING", "QUIT", ()),
        (KillVms, "RUNNING", "QUIT", ()),
        (KillVms, "PAUSED", "QUIT", ()),
        (KillVms, "QUIT", "QUIT", STATE_ERROR),
        (KillVms, "ERROR", "ERROR", STATE_ERROR),
        (FlushVms, "BUILDING", "BUILDING", STATE_ERROR),
        (FlushVms, "QUIT", None, ()),
        (FlushVms, "ERROR", None, ()),
    ],
)
def test_admissibility_for_one_vm(
    host: Host,
    request_type: type[StartVms | StopVms | KillVms | FlushVms],
    before: str,
    after: str | None,
    sentences: tuple[str, ...],
) -> None:
    prepared(host, before)
    assert errors(host.do(request_type(target="a"))) == sentences
    assert host.states().get("a") == after


@pytest.mark.parametrize(
    ("request_type", "before", "after"),
    [
        (StartVms, "QUIT", "QUIT"),
        (StartVms, "ERROR", "ERROR"),
        (StartVms, "RUNNING", "RUNNING"),
        (StopVms, "BUILDING", "BUILDING"),
        (StopVms, "QUIT", "QUIT"),
        (KillVms, "QUIT", "QUIT"),
        (FlushVms, "PAUSED", "PAUSED"),
    ],
)
def test_the_wildcard_skips_what_does_not_apply(
    host: Host, request_type: type[StartVms | StopVms | KillVms | FlushVms], before: str, after: str
) -> None:
    prepared(host, before)
    assert errors(host.do(request_type(target="all"))) == ()
    assert host.states()["a"] == after


def test_relaunch_keeps_identity_and_forgets_the_error(host: Host) -> None:
    prepared(host, "ERROR")
    vm = host.table.vms[0]
    uuid = vm.uuid
    assert vm.tags == {ERROR_TAG: "killed container: exit status 1"}
    assert errors(host.do(StartVms(target="a,b"))) == ()
    assert host.asked == ["ForgetGuests 0", "CreateGuests 0", "StartGuests 0"]
    assert [topic.split("/")[3] for topic in events(host.log)] == ["launched", "started"]
    assert (vm.uuid, vm.tags, vm.state, vm.ended_s) == (uuid, {}, VmState.RUNNING, 0.0)


def test_relaunch_that_fails(host: Host) -> None:
    prepared(host, "QUIT")
    host.refuse[(CreateGuests, 0)] = "no such directory: /fs"
    assert errors(host.do(StartVms(target="a"))) == ("a: no such directory: /fs",)
    assert host.states()["a"] == "ERROR"


def test_a_guest_that_refuses_to_change_can_still_be_killed(host: Host) -> None:
    prepared(host, "RUNNING")
    host.refuse[(PauseGuests, 0)] = "the freezer does not answer"
    assert errors(host.do(StopVms(target="a"))) == ("a: the freezer does not answer",)
    assert only(Ask, host.log)[-1].body == ListGuests(), "is it what it is believed to be?"
    assert host.states()["a"] == "RUNNING"
    assert errors(host.do(KillVms(target="a"))) == ()
    assert host.states()["a"] == "QUIT"


def test_flush_that_fails_keeps_the_record(host: Host) -> None:
    prepared(host, "QUIT")
    host.refuse[(ForgetGuests, 0)] = "still busy"
    assert errors(host.do(FlushVms())) == ("a: still busy",)
    assert host.states()["a"] == "ERROR"
    host.refuse.clear()
    effects = step(host.table, received(FlushVms(), "f"))
    assert the(Ask, effects).body == KillGuests(vm_ids=(0,)), "in case it is still there"
    effects = step(host.table, answer(the(Ask, effects), GuestReports(reports=(GuestReport(vm_id=0),))))
    effects = step(host.table, answer(the(Ask, effects), GuestReports(reports=(GuestReport(vm_id=0),))))
    assert the(RemoveInstances, effects).vm_ids == (0,)
    effects = step(host.table, InstancesRemoved(outcomes=(Outcome(0, "device busy"),)))
    assert replies(effects)["f"] == VmReport(
        results=(VmResult(name="a", vm_id=0, error="a: device busy", host="h1"),), errors=("a: device busy",)
    )
    assert host.states()["a"] == "ERROR"
    assert errors(host.do(FlushVms())) == ()
    assert "a" not in host.states()


# --- targets


@pytest.mark.parametrize(
    ("target", "killed", "sentences"),
    [
        ("a", ["a"], ()),
        ("0", ["a"], ()),
        ("00", ["a"], ()),
        ("v[1-2]", ["v1", "v2"], ()),
        ("v[1-3]", ["v1", "v2"], ("vm not found: v3",)),
        ("nope", [], ("vm not found: nope",)),
        ("nope,a,9", ["a"], ("vm not found: nope", "vm not found: 9")),
        ("all", ["a", "v1", "v2"], ()),
        ("nope,all", ["a", "v1", "v2"], ()),
        ("other", [], ("vm not found: other",)),
        ("3", [], ("vm not found: 3",)),
    ],
)
def test_targets(host: Host, target: str, killed: list[str], sentences: tuple[str, ...]) -> None:
    host.launch("a", "v1", "v2")
    host.launch("other", config=VmConfig(filesystem="/fs2"), namespace="exp1")
    assert errors(host.do(KillVms(target=target))) == sentences
    assert [name for name, state in host.states().items() if state == "QUIT"] == killed


@pytest.mark.parametrize(("target", "sentence"), [("", "the VM target is empty"), ("a[", "unterminated '['")])
def test_targets_that_make_no_sense(host: Host, target: str, sentence: str) -> None:
    reply = host.do(KillVms(target=target))
    assert isinstance(reply, Fail)
    assert (reply.code, reply.message) == ("invalid", sentence)


def test_the_port_of_a_console_is_what_the_driver_says(host: Host) -> None:
    host.launch("a", "b")
    ports = [vm.console_port for vm in host.table.vms.values()]
    assert ports == [5000, 5001]
    moved = (
        GuestConsole(vm_id=0, pid=1000, port=6000),
        GuestConsole(vm_id=1, pid=999, port=6001),  # about an earlier guest of the VM
        GuestConsole(vm_id=9, pid=1009, port=6009),
    )
    effects = step(host.table, received(ReportConsoles(consoles=moved), "moved"))
    assert replies(effects) == {"moved": Ack()}
    assert [vm.console_port for vm in host.table.vms.values()] == [6000, 5001]
    assert [vm.console_port for vm in vm_list(host.table, "minimega", "all", 0.0).vms] == [6000, 5001]
    host.do(KillVms(target="all"))
    step(host.table, received(ReportConsoles(consoles=moved), "late"))
    assert [vm.console_port for vm in host.table.vms.values()] == [0, 0]
    host.do(StartVms(target="a"))
    assert host.table.vms[0].console_port == 5000
