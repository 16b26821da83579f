"""The pure core of the `namespace` actor."""

from __future__ import annotations

from actors.namespace import config, destroy, launch, plan, vlan_requests
from actors.namespace.table import Located, NamespaceTable, locate
from actors.namespace.vlans import file_text
from bus.actor.step import Answered, AskFailed, Effect, Fail, Input, Publish, Received, Recovered, Reply, not_understood
from bus.language.vm_names import MAX_NAME, is_valid
from bus.messages.base import WILDCARD, Ack
from bus.messages.namespace import (
    LOAD_METRICS,
    ClearConfig,
    CloneConfig,
    DestroyNamespace,
    FlushQueue,
    LaunchQueue,
    NamespaceInfo,
    NamespaceList,
    NamespaceOpened,
    OpenNamespace,
    QueueVms,
    RestoreConfig,
    SaveConfig,
    SetConfig,
    SetLoadMetric,
    SetQueueing,
)
from bus.messages.schedule import ChangePlan
from bus.messages.vlan import AddVlan, BlacklistVlan, ClearVlans, ResolveVlans, ReturnVlans, SetVlanRange
from bus.messages.vm import VmList, VmNames, VmReport
from bus.topics import namespace_topic

MAX_NAMESPACES = 4096
"""All of them are in every snapshot and every list."""


def step(table: NamespaceTable, inp: Input) -> list[Effect]:
    """Take one input into the table; returns what is to be done about it."""
    before, vlans = set(table.namespaces), table.vlans
    effects = _step(table, inp)
    cause = inp.msg_id if isinstance(inp, Received) else ""
    opened = [_opened(name, cause) for name in table.namespaces if name not in before]
    return [*opened, *vlan_requests.written(vlans, table.vlans), *effects]


def _opened(name: str, cause: str) -> Effect:
    topic = namespace_topic(name, "opened")
    return Publish(topic=topic, event=NamespaceOpened(name=name), namespace=name, cause=cause)


def _step(table: NamespaceTable, inp: Input) -> list[Effect]:
    match inp:
        case Received():
            return _received(table, inp)
        case Answered(tag=tag, body=body) if tag in table.asks and tag.startswith(destroy.TAG):
            return destroy.answered(table, tag, table.asks.pop(tag), body)
        case AskFailed(tag=tag, message=message) if tag in table.asks and tag.startswith(destroy.TAG):
            return destroy.failed(table, tag, table.asks.pop(tag), message)
        case Answered(tag=tag, body=body) if tag in table.asks and tag.startswith(vlan_requests.TAG):
            return vlan_requests.answered(table, table.asks.pop(tag), body)
        case AskFailed(tag=tag) if tag in table.asks and tag.startswith(vlan_requests.TAG):
            return vlan_requests.failed(table, table.asks.pop(tag))
        case Answered(tag=tag, body=body) if tag in table.asks:
            return _answered(table, table.asks.pop(tag), body, inp.time_s)
        case AskFailed(tag=tag) if tag in table.asks:
            return _failed(table, inp, table.asks.pop(tag))
        case Located():
            locate(table, inp)
            return []
        case Recovered():  # the file may have been lost, or not been written when the actor ended
            return [vlan_requests.WriteVlans(text=file_text(table.vlans))]
        case _:
            raise TypeError(f"no step for {type(inp).__name__}")


def name_error(name: str) -> str:
    """Why no namespace can be called so; empty if one can."""
    if name == WILDCARD:
        return f"invalid namespace name, `{WILDCARD}` is a reserved word"
    if not is_valid(name):
        allowed = f"1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        return f"invalid namespace name, `{name[:MAX_NAME]}` is not {allowed}"
    return ""


def _received(table: NamespaceTable, inp: Received) -> list[Effect]:
    sentence = name_error(inp.namespace)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    if isinstance(inp.body, DestroyNamespace):
        return destroy.destroy(table, inp)
    sentence = destroy.refusal(table, inp.namespace) or _too_many(table, inp.namespace)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="conflict", message=sentence)]
    match inp.body:
        case SetConfig() | ClearConfig() | SaveConfig() | RestoreConfig():
            return [config.change(table, inp, inp.body)]
        case CloneConfig():
            return config.clone(table, inp, inp.body)
        case QueueVms():
            return launch.queue_vms(table, inp, inp.body)
        case LaunchQueue():
            return launch.launch_queue(table, inp, inp.body)
        case FlushQueue():
            namespace = table.make(inp.namespace)
            namespace.queue, namespace.plan = [], {}
        case SetQueueing(queueing=queueing):
            table.make(inp.namespace).queueing = queueing
        case SetLoadMetric(metric=metric):
            if metric not in LOAD_METRICS:
                sentence = f"invalid load metric `{metric[:80]}`: expected {', '.join(LOAD_METRICS)}"
                return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
            table.make(inp.namespace).load_metric = metric
        case ResolveVlans() | ReturnVlans() | AddVlan() | SetVlanRange() | BlacklistVlan() | ClearVlans():
            return vlan_requests.received(table, inp, inp.body)
        case ChangePlan():
            return [plan.change(table, inp, inp.body)]
        case OpenNamespace():
            table.make(inp.namespace)
        case _:
            return [not_understood("namespace", inp)]
    return [Reply(msg_id=inp.msg_id, body=Ack())]


def _too_many(table: NamespaceTable, name: str) -> str:
    """Why one more namespace cannot be; empty if it can, or is there."""
    if name in table.namespaces or len(table.namespaces) < MAX_NAMESPACES:
        return ""
    return f"there are {MAX_NAMESPACES} namespaces already; `clear namespace NAME` ends one"


def _answered(table: NamespaceTable, msg_id: str, body: object, now_s: float) -> list[Effect]:
    match body:
        case VmNames(uuids=uuids):
            return launch.names_came(table, msg_id, uuids, now_s)
        case VmReport():
            return launch.place_came(table, msg_id, body, now_s)
        case VmList():
            return config.clone_came(table, msg_id, body)
        case _:
            raise TypeError(f"no use for an answer of type {type(body).__name__}")


def _failed(table: NamespaceTable, inp: AskFailed, msg_id: str) -> list[Effect]:
    what = inp.tag.partition("/")[0]
    match what:
        case "names":
            return launch.names_failed(table, msg_id, inp.code, inp.message)
        case "place":
            return launch.place_failed(table, msg_id, inp)
        case _:
            return config.clone_failed(table, msg_id, inp.code, inp.message)


def namespace_list(table: NamespaceTable) -> NamespaceList:
    """All namespaces, by name."""
    return NamespaceList(
        namespaces=tuple(
            NamespaceInfo(
                name=name,
                hosts=namespace.hosts,
                queueing=namespace.queueing,
                queued=sum(len(batch.names) for batch in namespace.queue),
                load_metric=namespace.load_metric,
            )
            for name, namespace in sorted(table.namespaces.items())
        )
    )
