"""Random commands, answers, ends and restarts against the `vm` step: what must hold in every order."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.vm.effects import (
    InstancesPrepared,
    InstancesRemoved,
    Located,
    Outcome,
    PrepareInstances,
    RemoveInstances,
)
from actors.vm.state import step
from actors.vm.table import Phase, VmTable, Wires
from bus.actor.step import Ask, AskFailed, Effect, Fail, Input, Publish, Recovered, Reply
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
from bus.messages.network import ForgetGuestNics, Netspec, Plugged, PlugGuests, PlugReport, UnplugGuests
from bus.messages.vm import (
    LIVE_STATES,
    ClearVmTags,
    FlushVms,
    GuestKind,
    KillVms,
    LaunchVms,
    StartVms,
    StopVms,
    TagVms,
    VmConfig,
    VmReport,
    WireVms,
)
from tests.unit.actors.steps import answer, received, through_journal, through_snapshot
from tests.unit.examples import examples

NAMES = ("a", "b", "c", "d")
TARGETS = st.sampled_from([*NAMES, "all", "a,b", "b,c,nope", "0", "1,2"])
CONFIG = VmConfig(filesystem="/fs")
WIRED = VmConfig(filesystem="/fs", networks=(Netspec(vlan=100),))
COMMANDS: tuple[type[StartVms | StopVms | KillVms | FlushVms], ...] = (StartVms, StopVms, KillVms, FlushVms)


class Driver:
    """Guests as a driver has them: id to pid and state."""

    def __init__(self) -> None:
        self.guests: dict[int, tuple[int, str]] = {}
        self.last_pid = 1000
        self.records: set[int] = set()
        """VMs that `network` knows."""
        self.plugged: dict[int, int] = {}
        """Those that have devices, to the guest's pid."""
        self.killed: list[GuestExit] = []
        """Ends to be reported, beside the answer to the kill."""

    def do(self, body: Request[Message], broken: bool) -> Message:
        """Carry out one request, or refuse it for every guest."""
        match body:
            case CreateGuests(guests=guests):
                reports = [self._create(spec.vm_id, broken) for spec in guests]
            case StartGuests(vm_ids=vm_ids):
                reports = [self._change(vm_id, "running", broken) for vm_id in vm_ids]
            case PauseGuests(vm_ids=vm_ids):
                reports = [self._change(vm_id, "paused", broken) for vm_id in vm_ids]
            case KillGuests(vm_ids=vm_ids):
                reports = [self._kill(vm_id, broken) for vm_id in vm_ids]
            case ForgetGuests(vm_ids=vm_ids):
                reports = [self._forget(vm_id, broken) for vm_id in vm_ids]
            case PlugGuests(guests=nics):
                return PlugReport(guests=tuple(self._plug(nic.vm_id, nic.pid, broken) for nic in nics))
            case UnplugGuests(vm_ids=vm_ids):
                return PlugReport(guests=tuple(self._unplug(vm_id, broken) for vm_id in vm_ids))
            case ForgetGuestNics(vm_ids=vm_ids):
                self.records -= set(vm_ids)
                for vm_id in vm_ids:
                    self.plugged.pop(vm_id, None)
                return Ack()
            case _:
                raise TypeError(body)
        return GuestReports(reports=tuple(reports))

    def _create(self, vm_id: int, broken: bool) -> GuestReport:
        assert vm_id not in self.guests, "a second guest for the same VM"
        if broken:
            return GuestReport(vm_id=vm_id, error="cannot be made")
        self.last_pid += 1
        self.guests[vm_id] = (self.last_pid, "building")
        return GuestReport(vm_id=vm_id, pid=self.last_pid)

    def _plug(self, vm_id: int, pid: int, broken: bool) -> Plugged:
        if broken or self.guests.get(vm_id, (0, ""))[0] != pid:
            return Plugged(vm_id=vm_id, error="no such process")
        self.records.add(vm_id)
        self.plugged[vm_id] = pid
        return Plugged(vm_id=vm_id, taps=("mega_tap0",))

    def _unplug(self, vm_id: int, broken: bool) -> Plugged:
        if broken:
            return Plugged(vm_id=vm_id, error="device busy")
        self.plugged.pop(vm_id, None)
        return Plugged(vm_id=vm_id)

    def _change(self, vm_id: int, state: str, broken: bool) -> GuestReport:
        if broken or vm_id not in self.guests:
            return GuestReport(vm_id=vm_id, error="there is no such guest, or it does not obey")
        self.guests[vm_id] = (self.guests[vm_id][0], state)
        return GuestReport(vm_id=vm_id)

    def _kill(self, vm_id: int, broken: bool) -> GuestReport:
        if broken:
            return GuestReport(vm_id=vm_id, error="still busy")
        if vm_id in self.guests:
            pid, _ = self.guests.pop(vm_id)
            self.killed.append(GuestExit(vm_id=vm_id, exit="signal: killed", clean=True, pid=pid))
        return GuestReport(vm_id=vm_id)

    def _forget(self, vm_id: int, broken: bool) -> GuestReport:
        error = "still busy" if broken or vm_id in self.guests else ""
        return GuestReport(vm_id=vm_id, error=error)

    def list(self) -> GuestList:
        """All guests."""
        return GuestList(
            guests=tuple(
                GuestStatus(vm_id=vm_id, pid=pid, state=state)  # type: ignore[arg-type]  # one of the three
                for vm_id, (pid, state) in self.guests.items()
            )
        )


class VmModel(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.table = VmTable()
        self.journal: list[Input] = []
        self.driver = Driver()
        self.asks: dict[str, Ask] = {}
        self.files: list[PrepareInstances | RemoveInstances] = []
        self.unanswered: set[str] = set()
        self.launched: set[int] = set()
        self.flushed: set[int] = set()
        self.number = 0
        self.late: list[GuestExit] = []
        self.feed(Located(host="h1", base="/base", highest_id=-1))

    def feed(self, inp: Input) -> None:
        """One step; its effects wait until a rule carries them out."""
        self.journal.append(inp)
        for effect in step(self.table, inp):
            self.take(effect)

    def take(self, effect: Effect) -> None:
        match effect:
            case Ask():
                assert effect.tag not in self.asks, "two open asks with one tag"
                self.asks[effect.tag] = effect
            case PrepareInstances() | RemoveInstances():
                self.files.append(effect)
            case Reply(msg_id=msg_id) | Fail(msg_id=msg_id):
                self.unanswered.remove(msg_id)  # raises if it was answered before
                if isinstance(effect, Reply) and isinstance(effect.body, VmReport):
                    self.launched |= {r.vm_id for r in effect.body.results if r.vm_id >= 0}
            case Publish(event=event) if effect.topic.endswith("/flushed/"):
                self.flushed.add(event.vm_id)  # type: ignore[attr-defined]  # a VmEvent
            case _:
                pass

    def request(self, body: Request[Message]) -> None:
        self.number += 1
        msg_id = f"m{self.number}"
        self.unanswered.add(msg_id)
        self.feed(received(body, msg_id, time_s=float(self.number), seed=self.number))

    def answer_of(self, ask: Ask, broken: bool) -> Message:
        if isinstance(ask.body, ListGuests):
            return self.driver.list()
        body = self.driver.do(ask.body, broken)
        self.late += self.driver.killed
        self.driver.killed.clear()
        return body

    # --- what users do

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1), run=st.booleans(), wired=st.booleans())
    def launch(self, names: set[str], run: bool, wired: bool) -> None:
        config = WIRED if wired else CONFIG
        self.request(LaunchVms(kind=GuestKind.CONTAINER, config=config, names=tuple(sorted(names))))
        if run:
            self.settle()
            self.request(StartVms(target="all"))
            self.settle()

    @rule(command=st.sampled_from(COMMANDS), words=TARGETS)
    def command(self, command: type[StartVms | StopVms | KillVms | FlushVms], words: str) -> None:
        self.request(command(target=words))

    @rule(words=TARGETS)
    def wire(self, words: str) -> None:
        self.request(WireVms(target=words))

    @rule(words=TARGETS, clear=st.booleans())
    def tag(self, words: str, clear: bool) -> None:
        self.request(ClearVmTags(target=words, key="k") if clear else TagVms(target=words, key="k", value="v"))

    # --- what comes back

    @precondition(lambda self: self.asks)
    @rule(data=st.data(), broken=st.booleans())
    def answered(self, data: st.DataObject, broken: bool) -> None:
        ask = self.asks.pop(data.draw(st.sampled_from(sorted(self.asks))))
        body = self.answer_of(ask, broken)
        self.feed(answer(ask, body, time_s=float(self.number), seed=self.number))

    @precondition(lambda self: self.asks)
    @rule(data=st.data(), done=st.booleans(), broken=st.booleans())
    def not_answered(self, data: st.DataObject, done: bool, broken: bool) -> None:
        """Nobody knows whether it was done."""
        self.leave_unanswered(data.draw(st.sampled_from(sorted(self.asks))), done, broken)

    @precondition(lambda self: self.asks)
    @rule(done=st.booleans())
    def driver_away(self, done: bool) -> None:
        """No question that is open now is answered, nor what follows from that, once."""
        for _ in range(2):
            for tag in sorted(self.asks):
                self.leave_unanswered(tag, done, False)
            done = False

    def leave_unanswered(self, tag: str, done: bool, broken: bool) -> None:
        ask = self.asks.pop(tag)
        if done:
            self.answer_of(ask, broken)
        self.feed(AskFailed(tag=tag, code="deadline", message="no answer", seed=len(self.journal)))

    @precondition(lambda self: self.files)
    @rule(error=st.sampled_from(["", "", "disk full"]))
    def filed(self, error: str) -> None:
        self.file_next(error)

    def file_next(self, error: str) -> None:
        effect = self.files.pop(0)
        if isinstance(effect, PrepareInstances):
            self.feed(InstancesPrepared(outcomes=tuple(Outcome(one.vm_id, error) for one in effect.instances)))
        else:
            self.feed(InstancesRemoved(outcomes=tuple(Outcome(vm_id, error) for vm_id in effect.vm_ids)))

    @precondition(lambda self: self.driver.guests)
    @rule(data=st.data(), clean=st.booleans(), at_once=st.booleans())
    def exits(self, data: st.DataObject, clean: bool, at_once: bool) -> None:
        vm_id = data.draw(st.sampled_from(sorted(self.driver.guests)))
        pid, _ = self.driver.guests.pop(vm_id)
        self.late.append(GuestExit(vm_id=vm_id, exit="exit status 0", clean=clean, pid=pid))
        if at_once:
            self.report_next_exit()

    @precondition(lambda self: self.late)
    @rule()
    def report_exit(self) -> None:
        self.report_next_exit()

    def report_next_exit(self) -> None:
        self.request(ReportExits(exits=(self.late.pop(0),)))

    @rule()
    def calm(self) -> None:
        self.settle()

    def settle(self) -> None:
        """All that was begun comes to a good end."""
        for _ in range(500):
            if self.files:
                self.file_next("")
            elif self.asks:
                ask = self.asks.pop(min(self.asks))
                self.feed(answer(ask, self.answer_of(ask, False), time_s=float(self.number), seed=len(self.journal)))
            else:
                return

    @rule()
    def restart(self) -> None:
        """The process dies; what it was about to do itself is lost, its open asks are sent again."""
        replayed = VmTable()
        for inp in self.journal:
            step(replayed, through_journal(inp))
        assert msgspec.to_builtins(replayed) == msgspec.to_builtins(self.table)
        self.table = through_snapshot(self.table)
        assert msgspec.to_builtins(replayed) == msgspec.to_builtins(self.table)
        self.files.clear()
        self.feed(Recovered(seed=len(self.journal)))

    # --- what must hold

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.launched <= self.table.vms.keys() | self.flushed
        assert not self.table.vms.keys() & self.flushed
        names = [vm.name for vm in self.table.vms.values()]
        assert len(names) == len(set(names))

    @invariant()
    def open_commands_are_what_is_unanswered(self) -> None:
        assert set(self.table.jobs) == self.unanswered
        for job_id, job in self.table.jobs.items():
            works = [w for vm in self.table.vms.values() for w in (vm.work, *vm.waiting) if w and w.job == job_id]
            assert job.open == len(works) > 0

    @invariant()
    def phases_and_asks_agree(self) -> None:
        called = sorted(vm_id for call in self.table.calls.values() for vm_id in call.vm_ids)
        assert len(called) == len(set(called))
        own = {Phase.IDLE, Phase.PREPARING, Phase.REMOVING}
        assert called == sorted(vm.vm_id for vm in self.table.vms.values() if vm.phase not in own)
        assert set(self.asks) == self.table.calls.keys() | self.table.audits.keys()
        for vm in self.table.vms.values():
            assert (vm.work is None) == (vm.phase is Phase.IDLE) or vm.phase is Phase.UNPLUGGING
            assert vm.phase is not Phase.IDLE or not vm.waiting
            assert vm.state in LIVE_STATES or vm.pid == 0 or vm.phase in (Phase.PLUGGING, Phase.DISCARDING)
        assert self.driver.records <= {vm.vm_id for vm in self.table.vms.values() if vm.wires is not Wires.NONE}
        assert self.driver.plugged.keys() <= {vm.vm_id for vm in self.table.vms.values() if vm.wires is Wires.PLUGGED}

    def teardown(self) -> None:
        """Left alone, everything comes to its end, and what is believed is what is."""
        while self.asks or self.files or self.late:
            self.settle()
            if self.late:
                self.report_next_exit()
        assert (self.unanswered, self.table.jobs, self.table.calls) == (set(), {}, {})
        doubtful = {vm.vm_id for vm in self.table.vms.values() if vm.doubtful}
        believed = {vm.vm_id: (vm.pid, vm.state.value.lower()) for vm in self.table.vms.values() if vm.live}
        wired = {vm.vm_id: vm.pid for vm in self.table.vms.values() if vm.live and vm.config.networks}
        assert wired == {vm_id: self.driver.plugged.get(vm_id) for vm_id in wired}
        assert believed == {vm_id: guest for vm_id, guest in self.driver.guests.items() if vm_id not in doubtful}


VmModel.TestCase.settings = settings(
    max_examples=examples(400), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestVmModel = VmModel.TestCase
