"""When the `vm` actor has interfaces made, removed and forgotten, by tables."""

from __future__ import annotations

import msgspec
import pytest

from actors.vm.effects import InstancesPrepared, LinkNetworks, Outcome, WriteConfigs, WriteTaps
from actors.vm.state import step
from actors.vm.table import ERROR_TAG, Phase, Wires
from actors.vm.views import host_load
from bus.actor.step import Ask, AskFailed, Effect, Recovered
from bus.messages.base import Ack
from bus.messages.guest import GuestExit, GuestList, GuestReport, GuestReports, KillGuests, ReportExits
from bus.messages.network import ForgetGuestNics, GuestNic, Netspec, Plugged, PlugGuests, PlugReport, UnplugGuests
from bus.messages.vm import (
    FlushVms,
    GuestKind,
    KillVms,
    LaunchVms,
    ReportInterfaces,
    StartVms,
    StopVms,
    VmInterfaces,
    VmReport,
    WireVms,
)
from shims.usage.hoststat import HostStat
from tests.unit.actors.steps import answer, events, only, received, replies, the
from tests.unit.actors.vm.vm_host import WIRED, Host, errors

STAT = HostStat(cpus=1, load=(0.0, 0.0, 0.0), mem_total_mib=1, mem_used_mib=1, uptime_s=1.0)
GONE = "no answer from network in 20 s"


@pytest.fixture
def host() -> Host:
    """A host with a container `a` that has two interfaces, and runs."""
    host = Host()
    host.launch("a", config=WIRED)
    host.do(StartVms(target="a"))
    return host


def unanswered(ask: Ask) -> AskFailed:
    """Out of time."""
    return AskFailed(tag=ask.tag, code="deadline", message=GONE)


def test_a_launch_plugs_in_once_there_is_a_guest() -> None:
    host = Host()
    report = host.launch("a", config=WIRED)
    assert report.errors == ()
    assert host.asked == ["CreateGuests 0", "PlugGuests 0"]
    plug = only(Ask, host.log)[1]
    nic = GuestNic(vm_id=0, name="a", namespace="minimega", pid=1000, networks=WIRED.networks)
    assert (plug.to, plug.body, plug.cause) == ("network", PlugGuests(guests=(nic,)), "cmd")
    kinds = [type(effect).__name__ for effect in host.log]
    assert kinds == ["PrepareInstances", "Ask", "Ask", "LinkNetworks", "WriteTaps", "WriteConfigs", "Publish", "Reply"]
    assert the(WriteTaps, host.log).taps == {0: ("mega_tap0", "mega_tap1")}
    assert (host.states(), host.table.vms[0].wires) == ({"a": "BUILDING"}, Wires.PLUGGED)


MACS = ("00:16:3e:00:00:01", "00:16:3e:00:00:02", "00:16:3e:00:00:03")


def reported(host: Host, revision: int, *networks: Netspec, msg_id: str = "r") -> list[Effect]:
    """`network` says what the interfaces of `a` are now."""
    taps = tuple(f"mega_tap{number}" for number in range(len(networks)))
    found = VmInterfaces(vm_id=0, taps=taps, networks=networks, revision=revision)
    stranger = VmInterfaces(vm_id=99, taps=(), networks=(), revision=revision)
    effects = step(host.table, received(ReportInterfaces(vms=(found, stranger)), msg_id))
    assert replies(effects) == {msg_id: Ack()}
    return effects


def shown(effects: list[Effect]) -> str:
    """The line about interfaces in the file `config`."""
    return next(line for line in the(WriteConfigs, effects).configs[0].splitlines() if line.startswith("Networks:"))


def test_the_files_say_which_interfaces_there_are() -> None:
    host = Host()
    host.networks = tuple(msgspec.structs.replace(one, mac=mac) for one, mac in zip(WIRED.networks, MACS, strict=False))
    host.launch("a", config=WIRED)
    assert shown(host.log).split(maxsplit=1)[1] == (f"[mega_bridge,LAN (101),{MACS[0]} mega_bridge,100,{MACS[1]}]")
    third = Netspec(bridge="br2", vlan=7, mac=MACS[2])
    effects = reported(host, 5, *host.networks, third)
    assert the(WriteTaps, effects).taps == {0: ("mega_tap0", "mega_tap1", "mega_tap2")}
    assert shown(effects).endswith(f" br2,7,{MACS[2]}]")
    assert host_load(host.table, STAT).net_commit == 3
    assert only(WriteConfigs, reported(host, 4, *host.networks, msg_id="late")) == [], "it is older"
    effects = step(host.table, Recovered())
    assert shown(effects).endswith(f" br2,7,{MACS[2]}]")
    assert host.table.vms[0].config == msgspec.structs.replace(WIRED, uuid=host.table.vms[0].uuid)


def test_the_load_counts_interfaces_of_those_that_live() -> None:
    host = Host()
    host.launch("a", "b", config=WIRED)
    host.launch("c")
    assert host_load(host.table, STAT).net_commit == 4
    host.do(KillVms(target="a"))
    reported(host, 3, *WIRED.networks, *WIRED.networks)
    assert host_load(host.table, STAT).net_commit == 2


def test_nothing_is_written_where_there_is_no_directory() -> None:
    host = Host()
    launch = LaunchVms(kind=GuestKind.CONTAINER, config=WIRED, names=("a",))
    step(host.table, received(launch, "l"))
    assert host.table.vms[0].phase is Phase.PREPARING
    assert only(WriteTaps, reported(host, 1, *WIRED.networks)) == []
    step(host.table, InstancesPrepared(outcomes=(Outcome(0, "no room"),)))
    assert len(the(WriteTaps, reported(host, 2, *WIRED.networks, msg_id="again")).taps[0]) == 2


def test_hundreds_are_plugged_in_in_chunks() -> None:
    host = Host()
    host.launch(*(f"v{n}" for n in range(60)), config=WIRED)
    sizes = [len(ask.body.guests) for ask in only(Ask, host.log) if isinstance(ask.body, PlugGuests)]
    assert sizes == [25, 25, 10]


def test_a_whole_life(host: Host) -> None:
    for request, asked, state in [
        (StopVms(target="a"), ["PauseGuests 0"], "PAUSED"),
        (KillVms(target="a"), ["KillGuests 0", "UnplugGuests 0"], "QUIT"),
        (StartVms(target="a"), ["ForgetGuests 0", "CreateGuests 0", "PlugGuests 0", "StartGuests 0"], "RUNNING"),
        (KillVms(target="a"), ["KillGuests 0", "UnplugGuests 0"], "QUIT"),
        (FlushVms(), ["ForgetGuests 0", "ForgetGuestNics 0"], None),
    ]:
        assert errors(host.do(request)) == ()
        assert host.asked == asked
        assert host.states().get("a") == state
    assert (host.table.vms, host.table.calls) == ({}, {})


def test_a_kill_is_answered_when_the_devices_are_gone(host: Host) -> None:
    kill = the(Ask, step(host.table, received(KillVms(target="a"), "k")))
    effects = step(host.table, answer(kill, GuestReports(reports=(GuestReport(vm_id=0),))))
    assert (events(effects), replies(effects)) == (["vm/minimega/a/quit/"], {})
    assert the(LinkNetworks, effects).pids == {0: 0}
    unplug = the(Ask, effects)
    assert unplug.body == UnplugGuests(vm_ids=(0,))
    effects = step(host.table, answer(unplug, PlugReport(guests=(Plugged(vm_id=0),))))
    assert list(replies(effects)) == ["k"]


def test_without_interfaces_nobody_waits_for_networks() -> None:
    host = Host()
    host.launch("a")
    for request in (StartVms(target="a"), KillVms(target="a"), StartVms(target="a"), KillVms(target="a"), FlushVms()):
        assert errors(host.do(request)) == ()
        assert "network" not in {ask.to for ask in only(Ask, host.log)}


# --- what goes wrong


def test_a_guest_that_cannot_be_plugged_in_is_discarded() -> None:
    host = Host()
    host.refuse[(PlugGuests, 0)] = "the kernel refuses the interface veth1: no buffer space"
    report = host.launch("a", "b", config=WIRED)
    sentence = "the kernel refuses the interface veth1: no buffer space"
    assert report.errors == (f"a: {sentence}",)
    assert host.states() == {"a": "ERROR", "b": "BUILDING"}
    assert host.table.vms[0].tags == {ERROR_TAG: sentence}
    assert host.asked == ["CreateGuests 0 1", "PlugGuests 0 1", "KillGuests 0", "UnplugGuests 0"]
    assert events(host.log) == ["vm/minimega/b/launched/", "vm/minimega/a/failed/"]
    assert host.table.vms[0].phase is Phase.IDLE
    host.refuse.clear()
    assert errors(host.do(StartVms(target="a"))) == ()
    assert host.states() == {"a": "RUNNING", "b": "BUILDING"}


def test_a_launch_while_networks_are_away() -> None:
    host = Host()
    launch = host.launch("b")
    assert launch.errors == ()
    plug = _launched_up_to_plugging(host)
    kill = the(Ask, step(host.table, unanswered(plug)))
    assert kill.body == KillGuests(vm_ids=(1,))
    effects = step(host.table, answer(kill, GuestReports(reports=(GuestReport(vm_id=1),))))
    reply = replies(effects)["l"]
    assert isinstance(reply, VmReport)
    assert reply.errors == (f"a: {GONE}",)
    unplug = the(Ask, effects)
    assert unplug.body == UnplugGuests(vm_ids=(1,)), "it is not known whether there are devices"
    assert host.table.vms[1].work is None


def _launched_up_to_plugging(host: Host, vm_id: int = 1) -> Ask:
    """A launch of `a` whose guest exists; the ask for its interfaces is open."""
    step(host.table, received(LaunchVms(kind=GuestKind.CONTAINER, config=WIRED, names=("a",)), "l", seed=7))
    create = the(Ask, step(host.table, InstancesPrepared(outcomes=(Outcome(vm_id),))))
    return the(Ask, step(host.table, answer(create, GuestReports(reports=(GuestReport(vm_id=vm_id, pid=55),)))))


@pytest.mark.parametrize("plugged", ["", "no such process"])
def test_a_guest_that_ends_while_it_is_plugged_in(plugged: str) -> None:
    host = Host()
    plug = _launched_up_to_plugging(host, 0)
    exits = (GuestExit(vm_id=0, exit="signal: killed", clean=False, pid=55),)
    assert replies(step(host.table, received(ReportExits(exits=exits), "x"))) == {"x": Ack()}
    host.feed(step(host.table, answer(plug, PlugReport(guests=(Plugged(vm_id=0, error=plugged),)))))
    report = replies(host.log)["l"]
    assert isinstance(report, VmReport)
    assert report.errors == ("a: killed container: signal: killed",)
    vm = host.table.vms[0]
    assert (vm.state.value, vm.pid, vm.wires, vm.phase) == ("ERROR", 0, Wires.KEPT, Phase.IDLE)


def test_an_end_that_nobody_asked_for_has_the_devices_removed(host: Host) -> None:
    host.exit(0, "exit status 0", clean=True)
    assert host.states() == {"a": "QUIT"}
    assert (host.table.vms[0].wires, host.table.vms[0].phase) == (Wires.KEPT, Phase.IDLE)
    assert only(Ask, host.log)[0].body == UnplugGuests(vm_ids=(0,))


@pytest.mark.parametrize("answered", [True, False])
def test_commands_wait_for_the_devices_of_an_end_and_then_go_on(host: Host, answered: bool) -> None:
    exits = (GuestExit(vm_id=0, exit="exit status 0", clean=True, pid=1000),)
    unplug = the(Ask, step(host.table, received(ReportExits(exits=exits), "x")))
    assert step(host.table, received(StartVms(target="a"), "s")) == []
    done = PlugReport(guests=(Plugged(vm_id=0),))
    effects = step(host.table, answer(unplug, done) if answered else unanswered(unplug))
    host.asked.clear()
    host.feed(effects)
    assert host.asked == ["ForgetGuests 0", "CreateGuests 0", "PlugGuests 0", "StartGuests 0"]
    assert host.states() == {"a": "RUNNING"}


def _wires(host: Host) -> Wires:
    return host.table.vms[0].wires


def test_devices_that_could_not_be_removed_are_removed_later(host: Host) -> None:
    host.refuse[(UnplugGuests, 0)] = "device busy"
    reply = host.do(KillVms(target="a"))
    assert isinstance(reply, VmReport)
    assert (reply.errors, reply.warnings, host.states()) == ((), ("a: device busy",), {"a": "QUIT"})
    assert _wires(host) is Wires.PLUGGED
    host.refuse.clear()
    host.feed(step(host.table, Recovered()))
    assert _wires(host) is Wires.KEPT, "after a restart it is tried again"
    assert errors(host.do(FlushVms())) == ()
    assert host.asked[-1] == "ForgetGuestNics 0"


def test_a_flush_that_networks_do_not_answer_keeps_the_record(host: Host) -> None:
    host.do(KillVms(target="a"))
    forget = the(Ask, step(host.table, received(FlushVms(), "f")))
    unwire = the(Ask, step(host.table, answer(forget, GuestReports(reports=(GuestReport(vm_id=0),)))))
    assert unwire.body == ForgetGuestNics(vm_ids=(0,))
    effects = step(host.table, unanswered(unwire))
    reply = replies(effects)["f"]
    assert isinstance(reply, VmReport)
    assert reply.errors == (f"a: {GONE}",)
    assert errors(host.do(FlushVms())) == ()
    assert host.table.vms == {}


def test_a_guest_found_dead_after_a_restart_is_unplugged(host: Host) -> None:
    effects = step(host.table, Recovered())
    assert the(LinkNetworks, effects).pids == {0: 1000}
    assert the(WriteTaps, effects).taps == {0: ("mega_tap0", "mega_tap1")}
    effects = step(host.table, answer(the(Ask, effects), GuestList(guests=())))
    assert the(Ask, effects).body == UnplugGuests(vm_ids=(0,))
    assert the(LinkNetworks, effects).pids == {0: 0}


# --- interfaces that come later


@pytest.mark.parametrize(
    ("before", "wires", "asked"),
    [
        (StartVms(target="a"), Wires.PLUGGED, ["KillGuests 0", "UnplugGuests 0"]),
        (KillVms(target="a"), Wires.KEPT, ["ForgetGuests 0", "CreateGuests 0", "PlugGuests 0", "StartGuests 0"]),
    ],
)
def test_vms_that_get_interfaces_later(before: StartVms | KillVms, wires: Wires, asked: list[str]) -> None:
    host = Host()
    host.launch("a")
    host.do(before)
    effects = step(host.table, received(WireVms(target="a,nobody"), "w"))
    assert (replies(effects), host.table.vms[0].wires) == ({"w": Ack()}, wires)
    after = KillVms(target="a") if wires is Wires.PLUGGED else StartVms(target="a")
    assert errors(host.do(after)) == ()
    assert host.asked == asked
