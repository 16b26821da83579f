"""What a dry run has chosen for the queued VMs: shown again, changed by users, kept to by the next launch."""

from __future__ import annotations

from actors.namespace.table import Launch, Namespace, NamespaceTable
from bus.actor.step import Effect, Fail, Received, Reply
from bus.errors import InvalidError
from bus.language.vm_names import VmNameError, parse_target
from bus.messages.base import Ack
from bus.messages.schedule import ChangePlan, Plan
from bus.messages.vm import VmReport

NO_PLAN = "must run dry-run first"
SHOWN_NAME = 80
"""Characters of a name that an error repeats."""


def made(table: NamespaceTable, launch: Launch, report: VmReport) -> None:
    """Keep what a dry run chose, unless the queue has changed meanwhile."""
    namespace = table.make(launch.namespace)
    if namespace.queue == launch.queued:
        namespace.plan = {result.name: result.host for result in report.results}


def shown(namespace: Namespace) -> Plan:
    """The plan; raises InvalidError if there is none."""
    if not namespace.plan:
        raise InvalidError(NO_PLAN)
    return Plan(hosts=dict(namespace.plan))


def change(table: NamespaceTable, inp: Received, msg: ChangePlan) -> Effect:
    """Let the VMs of a target go to another host; nothing changes if one of them is not in the plan."""
    namespace = table.make(inp.namespace)
    if not namespace.plan:
        return Fail(msg_id=inp.msg_id, code="invalid", message=NO_PLAN)
    if msg.host not in namespace.hosts:
        sentence = f"new dst host is not in namespace: {msg.host[:SHOWN_NAME]}"
        return Fail(msg_id=inp.msg_id, code="invalid", message=sentence)
    try:
        names = parse_target(msg.target).items or tuple(namespace.plan)
    except VmNameError as error:
        return Fail(msg_id=inp.msg_id, code="invalid", message=str(error))
    for name in names:
        if name not in namespace.plan:
            sentence = f"reassign {name[:SHOWN_NAME]}: vm not found"
            return Fail(msg_id=inp.msg_id, code="not_found", message=sentence)
    namespace.plan |= dict.fromkeys(names, msg.host)
    return Reply(msg_id=inp.msg_id, body=Ack())
