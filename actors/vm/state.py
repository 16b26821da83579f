"""The pure core of the `vm` actor: every VM of this host, whatever its kind, through its life."""

from __future__ import annotations

from actors.vm import launch, lifecycle, reconcile, tags, wires
from actors.vm.effects import InstancesPrepared, InstancesRemoved, Located
from actors.vm.table import Phase, Verb, VmTable
from actors.vm.turn import NETWORK_PHASES, Turn
from bus.actor.step import Answered, AskFailed, Effect, Input, Received, Recovered, not_understood
from bus.messages.base import Ack
from bus.messages.guest import GuestList, GuestReports, ReportConsoles, ReportExits
from bus.messages.network import PlugReport
from bus.messages.vm import (
    ClearVmTags,
    FlushVms,
    KillVms,
    LaunchVms,
    ReportInterfaces,
    StartVms,
    StopVms,
    TagVms,
    WireVms,
)

VERBS: dict[type[object], Verb] = {StartVms: Verb.START, StopVms: Verb.STOP, KillVms: Verb.KILL, FlushVms: Verb.FLUSH}


def step(table: VmTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    turn = Turn(table, inp)
    match inp:
        case Received():
            _received(turn, inp)
        case Answered(tag=tag, body=GuestReports() as body) if tag in table.calls:
            lifecycle.reported(turn, table.calls.pop(tag), body.reports)
        case Answered(tag=tag, body=PlugReport() | Ack() as body) if _asked_network(table, tag):
            call = table.calls.pop(tag)
            lifecycle.reported(turn, call, wires.answered(turn, call.vm_ids, body))
        case Answered(tag=tag, body=GuestList() as body) if tag in table.audits:
            reconcile.audited(turn, table.audits.pop(tag), body)
        case AskFailed(tag=tag, message=message) if tag in table.calls:
            lifecycle.unanswered(turn, table.calls.pop(tag), message)
        case AskFailed(tag=tag, code=code) if tag in table.audits:
            reconcile.audit_failed(turn, table.audits.pop(tag), code)
        case Answered() | AskFailed():
            raise ValueError(f"nobody waits for the answer to {inp.tag}, or it is of the wrong type")
        case InstancesPrepared() | InstancesRemoved():
            _instances(turn, inp)
        case Located(host=host, base=base, highest_id=highest_id):
            table.host, table.base = host, base
            table.next_id = max(table.next_id, highest_id + 1)
        case Recovered():
            reconcile.recovered(turn)
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")
    return turn.effects()


def _asked_network(table: VmTable, tag: str) -> bool:
    return tag in table.calls and table.calls[tag].phase in NETWORK_PHASES


def _received(turn: Turn, inp: Received) -> None:
    match inp.body:
        case LaunchVms():
            launch.launch(turn, inp, inp.body)
        case StartVms(target=target) | StopVms(target=target) | KillVms(target=target) | FlushVms(target=target):
            lifecycle.command(turn, inp.msg_id, inp.namespace, VERBS[type(inp.body)], target)
        case TagVms() | ClearVmTags():
            tags.change_tags(turn, inp, inp.body)
        case WireVms():
            wires.expect(turn, inp, inp.body)
        case ReportInterfaces():
            wires.changed(turn, inp, inp.body)
        case ReportExits(exits=exits):
            for exit_ in exits:
                lifecycle.exit_reported(turn, exit_)
            turn.reply(inp.msg_id, Ack())
        case ReportConsoles(consoles=consoles):
            for console in consoles:
                lifecycle.console_moved(turn, console)
            turn.reply(inp.msg_id, Ack())
        case _:
            failure = not_understood("vm", inp)
            turn.fail(failure.msg_id, failure.code, failure.message)


def _instances(turn: Turn, inp: InstancesPrepared | InstancesRemoved) -> None:
    """Outcomes for VMs that are no longer waiting for them come from before a crash, and were repeated since."""
    for outcome in inp.outcomes:
        vm = turn.table.vms.get(outcome.vm_id)
        match inp, vm and vm.phase:
            case InstancesPrepared(), Phase.PREPARING if vm is not None:
                launch.prepared(turn, vm, outcome)
            case InstancesRemoved(), Phase.REMOVING if vm is not None:
                lifecycle.removed(turn, vm, outcome.error)
            case _:
                pass
