"""Random requests, answers, failures and restarts against the `namespace` step: what must hold in every order."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.namespace.state import step
from actors.namespace.table import NamespaceTable, first_table
from actors.namespace.vlan_requests import WriteVlans
from actors.namespace.vlans import file_text
from bus.actor.step import Ask, AskFailed, Effect, Fail, Input, Publish, Reply
from bus.messages.base import Ack, Message, Request
from bus.messages.cc import EndCc
from bus.messages.namespace import (
    CloneConfig,
    DestroyNamespace,
    DestroyReport,
    FlushQueue,
    LaunchQueue,
    OpenNamespace,
    QueueVms,
    SetConfig,
    SetQueueing,
)
from bus.messages.network import BridgeInfo, Bridges, EndNetworks, GetBridges
from bus.messages.pipe import DeletePipes
from bus.messages.pipeline import ClearPipelines
from bus.messages.schedule import PlaceVms
from bus.messages.vlan import AddVlan, BlacklistVlan, ClearVlans, ResolveVlans, ReturnVlans, SetVlanRange
from bus.messages.vm import (
    FlushVms,
    GetVmNames,
    GetVms,
    GuestKind,
    KillVms,
    VmList,
    VmNames,
    VmReport,
    VmResult,
)
from tests.unit.actors.steps import answer, received, through_journal, through_snapshot
from tests.unit.examples import examples

HOSTS = ("h1", "h2")
NAMES = ("minimega", "exp")
REQUESTS: tuple[Request[Message], ...] = (
    OpenNamespace(),
    SetConfig(param="memory", words=("64",)),
    SetQueueing(queueing=True),
    SetQueueing(queueing=False),
    QueueVms(kind=GuestKind.CONTAINER, names="a"),
    QueueVms(kind=GuestKind.CONTAINER, names="2"),
    LaunchQueue(),
    FlushQueue(),
    CloneConfig(vm="a"),
    DestroyNamespace(),
    SetConfig(param="net", words=("LAN", "exp//LAN,00:11:22:33:44:55")),
    SetConfig(param="net", words=("A", "102", "B")),
    ResolveVlans(texts=("A", "C")),
    ReturnVlans(aliases=("minimega//A", "exp//C", "minimega//LAN"), numbers=(102, 104)),
    AddVlan(alias="B", number=105),
    SetVlanRange(minimum=103, maximum=106),
    BlacklistVlan(number=104),
    ClearVlans(),
    ClearVlans(prefix="A"),
    ClearVlans(prefix="all"),
)


class NamespaceMachine(RuleBasedStateMachine):
    """The step, and hosts that have VMs."""

    def __init__(self) -> None:
        super().__init__()
        self.table: NamespaceTable = first_table("h1", "/base/files")
        self.table.namespaces["minimega"].hosts = HOSTS
        self.asks: dict[str, Ask] = {}
        self.open: dict[str, Request[Message]] = {}
        self.where: dict[str, str] = {}
        self.vms: dict[tuple[str, str, str], bool] = {}
        """Namespace, host and name to whether the VM runs."""
        self.listed = {"minimega"}
        """Namespaces by the events alone."""
        self.ids = itertools.count()

    def take(self, inp: Input) -> None:
        """One step, from a journal that may be read again."""
        for effect in step(self.table, through_journal(inp)):
            self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        """What the world does about an effect."""
        match effect:
            case Ask():
                assert effect.tag not in self.asks, "two open asks have one tag"
                self.asks[effect.tag] = effect
            case Reply(msg_id=msg_id, body=body):
                request = self.open.pop(msg_id)
                if isinstance(request, DestroyNamespace):
                    self.destroyed(self.where[msg_id], body)
            case Fail(msg_id=msg_id, message=message):
                assert message and "\n" not in message
                del self.open[msg_id]
            case Publish(topic=topic):
                _, name, what, _ = topic.split("/")
                if what == "opened":
                    assert name not in self.listed
                    self.listed.add(name)
                elif name != "minimega":
                    self.listed.remove(name)
            case WriteVlans(text=text):
                assert text == file_text(self.table.vlans)
            case _:
                raise AssertionError(f"nobody carries out {effect}")

    def destroyed(self, namespace: str, body: Message) -> None:
        """Somebody was told that a namespace is gone: so it is, or the answer says what is left."""
        assert isinstance(body, DestroyReport)
        left = {vm for vm in self.vms if vm[0] == namespace}
        assert not left or body.errors, f"{left} were said to be gone"

    @rule(body=st.sampled_from(REQUESTS), namespace=st.sampled_from(NAMES))
    def ask(self, body: Request[Message], namespace: str) -> None:
        """Somebody asks for something."""
        msg_id = f"m{next(self.ids)}"
        self.open[msg_id], self.where[msg_id] = body, namespace
        self.take(received(body, msg_id, namespace=namespace))

    @precondition(lambda self: self.asks)
    @rule(data=st.data(), fails=st.sampled_from((False, False, False, True)))
    def answer(self, data: st.DataObject, fails: bool) -> None:
        """One of the open asks comes to its end."""
        ask = self.asks.pop(data.draw(st.sampled_from(sorted(self.asks))))
        if fails:
            code = data.draw(st.sampled_from(("deadline", "unreachable", "conflict")))
            self.take(AskFailed(tag=ask.tag, code=code, message=f"{ask.to} does not answer"))
        else:
            self.take(answer(ask, self.reply(ask)))

    def reply(self, ask: Ask) -> Message:
        """What a host, or the scheduler, says and does."""
        host = ask.to.partition("@")[2]
        mine = sorted(vm for vm in self.vms if vm[:2] == (ask.namespace, host))
        match ask.body:
            case PlaceVms(batches=batches, hosts=hosts):
                names = [name for batch in batches for name in batch.names]
                assert all(names) and len(set(names)) == len(names)
                self.vms |= {(ask.namespace, hosts[0], name): True for name in names}
                return VmReport(results=tuple(VmResult(name=name, host=hosts[0]) for name in names))
            case GetVmNames():
                return VmNames(uuids={name: f"uuid-{name}" for _, _, name in mine})
            case ClearPipelines() | DeletePipes() | EndCc() | EndNetworks():
                return Ack()
            case GetBridges():
                return Bridges(bridges=(BridgeInfo(name="mega_bridge", vlans=(101, 105)),))
            case KillVms():
                self.vms |= dict.fromkeys(mine, False)
                return VmReport()
            case FlushVms():
                gone = [vm for vm in mine if not self.vms[vm]]
                self.vms = {vm: runs for vm, runs in self.vms.items() if vm not in gone}
                return VmReport(results=tuple(VmResult(name=name, host=host) for _, _, name in gone))
            case GetVms():
                return VmList(vms=())
            case _:
                raise AssertionError(f"nobody answers {ask.body}")

    @rule(namespace=st.sampled_from(NAMES), host=st.sampled_from(HOSTS))
    def earlier(self, namespace: str, host: str) -> None:
        """There is a VM from an earlier launch."""
        calm = all(destruction.namespace != namespace for destruction in self.table.destructions.values())
        if namespace in self.listed and host in self.table.get(namespace).hosts and calm:
            self.vms[namespace, host, "old"] = True

    @rule(namespace=st.sampled_from(NAMES))
    def end(self, namespace: str) -> None:
        """Somebody wants a namespace to end."""
        self.ask(DestroyNamespace(), namespace)

    @precondition(lambda self: self.vms)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """Somebody starts a VM, which may be about to be flushed."""
        self.vms[data.draw(st.sampled_from(sorted(self.vms)))] = True

    @rule()
    def restart(self) -> None:
        """Come back from a snapshot."""
        restored = through_snapshot(self.table)
        before, after = (msgspec.to_builtins(one, order="deterministic") for one in (self.table, restored))
        assert after == before
        self.table = restored

    @invariant()
    def everything_is_accounted_for(self) -> None:
        """Nothing waits for an answer that nobody will give."""
        assert self.table.asks.keys() == self.asks.keys()
        under_way = {*self.table.launches, *self.table.clones, *self.table.clearings}
        for msg_id, destruction in self.table.destructions.items():
            under_way |= {msg_id, *destruction.also}
        assert under_way == self.open.keys()
        assert set(self.table.namespaces) == self.listed

    @invariant()
    def a_number_has_one_alias(self) -> None:
        """And one that users keep to themselves has none that was given."""
        numbers = list(self.table.vlans.aliases.values())
        assert len(set(numbers)) == len(numbers)
        assert self.table.vlans.blacklist.isdisjoint(numbers)
        assert self.table.vlans.new <= self.table.vlans.aliases.keys()
        assert all(0 < number < 4095 for number in numbers)

    def teardown(self) -> None:
        """Once everybody has answered, everything is answered, and every namespace can be ended."""
        for name in NAMES:
            while self.asks:
                ask = self.asks.pop(min(self.asks))
                self.take(answer(ask, self.reply(ask)))
            self.ask(DestroyNamespace(), name)
        while self.asks:
            ask = self.asks.pop(min(self.asks))
            self.take(answer(ask, self.reply(ask)))
        assert self.open == {}
        self.everything_is_accounted_for()
        assert self.listed == {"minimega"}
        assert self.vms == {}
        assert self.table.vlans.aliases == {}
        assert self.table.vlans.ranges == {}


TestNamespace = NamespaceMachine.TestCase
TestNamespace.settings = settings(max_examples=examples(100), stateful_step_count=40)
