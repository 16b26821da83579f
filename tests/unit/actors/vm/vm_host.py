"""A `vm` table with a driver that answers at once, for tests of the step."""

from __future__ import annotations

from actors.vm.effects import (
    InstancesPrepared,
    InstancesRemoved,
    Located,
    Outcome,
    PrepareInstances,
    RemoveInstances,
)
from actors.vm.reconcile import STATES
from actors.vm.state import step
from actors.vm.table import VmTable
from bus.actor.step import Ask, Effect, Fail
from bus.messages.base import Ack, Message, Request
from bus.messages.guest import (
    CreateGuests,
    ForgetGuests,
    GuestExit,
    GuestList,
    GuestReport,
    GuestReports,
    GuestStatus,
    KillGuests,
    ListGuests,
    PauseGuests,
    ReportExits,
    StartGuests,
)
from bus.messages.network import (
    ForgetGuestNics,
    Netspec,
    Plugged,
    PlugGuests,
    PlugReport,
    UnplugGuests,
)
from bus.messages.vm import (
    GuestKind,
    KillVms,
    LaunchVms,
    StartVms,
    StopVms,
    VmConfig,
    VmReport,
)
from tests.unit.actors.steps import answer, received, replies

CONFIG = VmConfig(filesystem="/fs")
WIRED = VmConfig(filesystem="/fs", networks=(Netspec(vlan=101, alias="minimega//LAN"), Netspec(vlan=100)))
NETWORK_REQUESTS = PlugGuests | UnplugGuests | ForgetGuestNics
DRIVER_REQUESTS = CreateGuests | StartGuests | PauseGuests | KillGuests | ForgetGuests


class Host:
    """A table with a driver that answers every ask at once, failing where it was told to."""

    def __init__(self) -> None:
        self.table = VmTable()
        self.refuse: dict[tuple[type[object], int], str] = {}
        self.asked: list[str] = []
        self.log: list[Effect] = []
        self.seed = 0
        self.networks: tuple[Netspec, ...] = ()
        """What `network` says that interfaces are."""
        self.feed(step(self.table, Located(host="h1", base="/base", highest_id=-1)))

    def feed(self, effects: list[Effect]) -> None:
        """Carry out effects until there are none left."""
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            self.log.append(effect)
            match effect:
                case PrepareInstances(instances=instances):
                    outcomes = tuple(Outcome(one.vm_id) for one in instances)
                    pending += step(self.table, InstancesPrepared(outcomes=outcomes))
                case RemoveInstances(vm_ids=vm_ids):
                    pending += step(self.table, InstancesRemoved(outcomes=tuple(Outcome(vm_id) for vm_id in vm_ids)))
                case Ask(body=ListGuests()):
                    pending += step(self.table, answer(effect, self.guests()))
                case Ask(to="network"):
                    pending += step(self.table, answer(effect, self.network(effect)))
                case Ask():
                    pending += step(self.table, answer(effect, self.report(effect)))
                case _:
                    pass

    def guests(self) -> GuestList:
        """What the driver lists: just what the table believes."""
        shown = {state: name for name, state in STATES.items()}
        living = [vm for vm in self.table.vms.values() if vm.live]
        return GuestList(guests=tuple(GuestStatus(vm_id=vm.vm_id, pid=vm.pid, state=shown[vm.state]) for vm in living))

    def report(self, ask: Ask) -> GuestReports:
        """What the driver answers."""
        body = ask.body
        assert isinstance(body, DRIVER_REQUESTS)
        vm_ids = tuple(g.vm_id for g in body.guests) if isinstance(body, CreateGuests) else body.vm_ids
        self.asked.append(f"{type(body).__name__} {' '.join(map(str, vm_ids))}")
        port = 5000 if isinstance(body, CreateGuests) else 0
        refusals = {vm_id: self.refuse.get((type(body), vm_id), "") for vm_id in vm_ids}
        reports = (GuestReport(vm_id=v, pid=1000 + v, error=refusals[v], console_port=port + v) for v in vm_ids)
        return GuestReports(reports=tuple(reports))

    def network(self, ask: Ask) -> Message:
        """What `network` answers: two taps to each guest."""
        body = ask.body
        assert isinstance(body, NETWORK_REQUESTS)
        vm_ids = tuple(guest.vm_id for guest in body.guests) if isinstance(body, PlugGuests) else body.vm_ids
        self.asked.append(f"{type(body).__name__} {' '.join(map(str, vm_ids))}")
        if isinstance(body, ForgetGuestNics):
            return Ack()
        refusals = {vm_id: self.refuse.get((type(body), vm_id), "") for vm_id in vm_ids}
        taps = ("mega_tap0", "mega_tap1") if isinstance(body, PlugGuests) else ()
        return PlugReport(
            guests=tuple(Plugged(vm_id=v, error=refusals[v], taps=taps, networks=self.networks) for v in vm_ids)
        )

    def do(self, body: Request[VmReport], namespace: str = "minimega") -> VmReport | Fail:
        """Run a command to its answer."""
        self.log.clear()
        self.asked.clear()
        self.seed += 1
        msg_id = "cmd"
        self.feed(step(self.table, received(body, msg_id, namespace=namespace, seed=self.seed)))
        reply = replies(self.log)[msg_id]
        assert isinstance(reply, VmReport | Fail)
        return reply

    def launch(self, *names: str, config: VmConfig = CONFIG, namespace: str = "minimega") -> VmReport:
        """Launch containers."""
        report = self.do(LaunchVms(kind=GuestKind.CONTAINER, config=config, names=names), namespace)
        assert isinstance(report, VmReport)
        return report

    def states(self) -> dict[str, str]:
        """State by name."""
        return {vm.name: vm.state.value for vm in self.table.vms.values()}

    def exit(self, vm_id: int, how: str, *, clean: bool = False, oom_killed: bool = False, pid: int = 0) -> None:
        """A guest ends."""
        self.log.clear()
        exits = (GuestExit(vm_id=vm_id, exit=how, clean=clean, oom_killed=oom_killed, pid=pid),)
        self.feed(step(self.table, received(ReportExits(exits=exits), "exit")))
        assert replies(self.log)["exit"] == Ack()


def errors(reply: VmReport | Fail) -> tuple[str, ...]:
    """The sentences of a report."""
    assert isinstance(reply, VmReport), reply
    return reply.errors


def errors_of(effects: list[Effect], msg_id: str) -> tuple[str, ...]:
    """The sentences of one answer."""
    reply = replies(effects)[msg_id]
    assert isinstance(reply, VmReport)
    return reply.errors


def prepared(host: Host, state: str) -> None:
    """Bring VM `a` into a state, `b` into RUNNING."""
    host.launch("a", "b")
    host.do(StartVms(target="b"))
    match state:
        case "RUNNING":
            host.do(StartVms(target="a"))
        case "PAUSED":
            host.do(StartVms(target="a"))
            host.do(StopVms(target="a"))
        case "QUIT":
            host.do(KillVms(target="a"))
        case "ERROR":
            host.do(StartVms(target="a"))
            host.exit(0, "exit status 1")
        case _:
            pass
    assert host.states()["a"] == state
