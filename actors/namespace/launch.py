"""`vm launch`: names, the queue, and the way to the scheduler."""

from __future__ import annotations

import msgspec

from actors.namespace import plan, schedules
from actors.namespace.table import Launch, Namespace, NamespaceTable
from actors.namespace.vlan_requests import renewed
from actors.namespace.vlans import VlanError
from bus.actor.step import Ask, AskFailed, Effect, Fail, Received, Reply
from bus.language.vm_names import VmNameError, parse_launch
from bus.messages.namespace import Batch, LaunchQueue, QueueVms
from bus.messages.schedule import PlaceVms
from bus.messages.vm import GetVmNames, VmReport

NAMES_TIMEOUT_S = 30.0
PLACE_TIMEOUT_S = 900.0
"""Longer than any client waits: what is launched is launched."""
OUTCOME_UNKNOWN = ("deadline", "cancelled")
NO_HOSTS = "namespace must contain at least one host to launch VMs"
NOTHING_QUEUED = "namespace must contain at least one queued VM to launch VMs"
DRY_RUN = "a dry run of this namespace is under way: the scheduler places one after the other, for everybody"


def queue_vms(table: NamespaceTable, inp: Received, msg: QueueVms) -> list[Effect]:
    """Begin with `vm launch KIND NAMES`: are the words and the draft sound?"""
    namespace = table.make(inp.namespace)
    try:
        count, names = parse_launch(msg.names)
    except VmNameError as error:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=str(error))]
    config = namespace.saved.get(msg.config) if msg.config else namespace.draft
    if config is None:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=f"config {msg.config[:80]} does not exist")]
    if count > 1 and config.uuid:
        sentence = "cannot launch multiple VMs with a pre-configured UUID"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    batch = Batch(kind=msg.kind, names=names or ("",) * count, config=config)
    return _begin(table, inp, batch)


def launch_queue(table: NamespaceTable, inp: Received, msg: LaunchQueue) -> list[Effect]:
    """Begin with plain `vm launch`, or only ask where the VMs would go."""
    if not table.make(inp.namespace).queue:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=NOTHING_QUEUED)]
    if msg.dry_run and any(one.dry_run and one.namespace == inp.namespace for one in table.launches.values()):
        return [Fail(msg_id=inp.msg_id, code="conflict", message=DRY_RUN)]
    return _begin(table, inp, None, dry_run=msg.dry_run)


def _begin(table: NamespaceTable, inp: Received, batch: Batch | None, *, dry_run: bool = False) -> list[Effect]:
    hosts = table.get(inp.namespace).hosts
    table.launches[inp.msg_id] = Launch(namespace=inp.namespace, batch=batch, open=len(hosts), dry_run=dry_run)
    if not hosts:
        return _names_known(table, inp.msg_id, inp.time_s)
    effects: list[Effect] = []
    for host in hosts:
        tag = f"names/{host}/{inp.msg_id}"
        table.asks[tag] = inp.msg_id
        effects.append(
            Ask(
                tag=tag,
                to=f"vm@{host}",
                body=GetVmNames(),
                timeout_s=NAMES_TIMEOUT_S,
                namespace=inp.namespace,
                cause=inp.msg_id,
            )
        )
    return effects


def names_came(table: NamespaceTable, msg_id: str, uuids: dict[str, str], now_s: float) -> list[Effect]:
    """One host has said which names are taken there."""
    launch = table.launches.get(msg_id)
    if launch is None:
        return []
    launch.taken.update(uuids)
    launch.open -= 1
    return _names_known(table, msg_id, now_s) if launch.open == 0 else []


def names_failed(table: NamespaceTable, msg_id: str, code: str, message: str) -> list[Effect]:
    """One host did not answer: nothing is queued, as a name might be taken there."""
    if table.launches.pop(msg_id, None) is None:
        return []
    return [Fail(msg_id=msg_id, code=code, message=message)]


def _names_known(table: NamespaceTable, msg_id: str, now_s: float) -> list[Effect]:
    launch = table.launches[msg_id]
    namespace = table.make(launch.namespace)
    if launch.batch is not None:
        sentence = namespace.queued.overflow(launch.batch) or _conflict(table, launch, launch.batch)
        if sentence:
            return _fail(table, msg_id, "conflict", sentence)
        namespace.queue.append(launch.batch)
        namespace.plan = {}
        if namespace.queueing:
            del table.launches[msg_id]
            return [Reply(msg_id=msg_id, body=VmReport())]
    if not namespace.hosts:
        _put_back(namespace, launch)
        return _fail(table, msg_id, "invalid", NO_HOSTS)
    if not namespace.queue:  # another launch was faster
        return _fail(table, msg_id, "invalid", NOTHING_QUEUED)
    vlans = table.vlans
    try:
        return [_place(table, msg_id, launch, namespace, now_s)]
    except VlanError as error:
        table.vlans = vlans
        _put_back(namespace, launch)
        return _fail(table, msg_id, error.code, str(error))


def _fail(table: NamespaceTable, msg_id: str, code: str, sentence: str) -> list[Effect]:
    del table.launches[msg_id]
    return [Fail(msg_id=msg_id, code=code, message=sentence)]


def _conflict(table: NamespaceTable, launch: Launch, batch: Batch) -> str:
    """Whether a name or the UUID of a new batch is taken, as a sentence."""
    queued, placed = table.get(launch.namespace).queued, list(table.placed_batches(launch.namespace))
    placed_names = {name for other in placed for name in other.names}
    for name in filter(None, batch.names):
        if name in launch.taken:
            return f"vm already exists with name `{name}`"
        if name in queued.names or name in placed_names:
            return f"vm already queued with name `{name}`"
    uuid = batch.config.uuid
    if uuid and uuid in launch.taken.values():
        return f"vm already exists with UUID `{uuid}`"
    if uuid and (uuid in queued.uuids or any(other.config.uuid == uuid for other in placed)):
        return f"vm already queued with UUID `{uuid}`"
    return ""


def _place(table: NamespaceTable, msg_id: str, launch: Launch, namespace: Namespace, now_s: float) -> Effect:
    """What the scheduler is asked; raises VlanError before anything but VLANs has changed."""
    queue = (
        namespace.queue if launch.dry_run else [_renewed(table, batch, launch.namespace) for batch in namespace.queue]
    )
    placed = {name for batch in table.placed_batches(launch.namespace) for name in batch.names}
    taken = namespace.queued.names | placed | launch.taken.keys()
    first_auto, fixed = namespace.next_auto, namespace.plan
    batches = tuple(_named(batch, namespace, taken) for batch in queue)
    launch.queued = list(namespace.queue)
    if launch.dry_run:
        namespace.next_auto, fixed = first_auto, {}
    else:
        launch.placed, namespace.queue, namespace.plan = list(batches), [], {}
        launch.started_s, launch.hosts = now_s, len(namespace.hosts)
    tag = f"place/{msg_id}"
    table.asks[tag] = msg_id
    return Ask(
        tag=tag,
        to="scheduler",
        body=PlaceVms(
            batches=batches,
            hosts=namespace.hosts,
            load_metric=namespace.load_metric,
            dry_run=launch.dry_run,
            fixed=fixed,
        ),
        timeout_s=PLACE_TIMEOUT_S,
        namespace=launch.namespace,
        cause=msg_id,
    )


def _renewed(table: NamespaceTable, batch: Batch, namespace: str) -> Batch:
    """What was queued long ago gets the numbers that its VLANs have now."""
    return msgspec.structs.replace(batch, config=renewed(table, batch.config, namespace))


def _named(batch: Batch, namespace: Namespace, taken: set[str]) -> Batch:
    return msgspec.structs.replace(batch, names=tuple(name or _next_name(namespace, taken) for name in batch.names))


def _next_name(namespace: Namespace, taken: set[str]) -> str:
    while True:
        name = f"vm-{namespace.next_auto}"
        namespace.next_auto += 1
        if name not in taken:
            return name


def place_came(table: NamespaceTable, msg_id: str, report: VmReport, now_s: float) -> list[Effect]:
    """The scheduler is through; which VMs failed is in its report."""
    launch = table.launches.pop(msg_id)
    if launch.dry_run:
        plan.made(table, launch, report)
    else:
        schedules.ended(table, launch, report, now_s)
    return [Reply(msg_id=msg_id, body=report)]


def place_failed(table: NamespaceTable, msg_id: str, failure: AskFailed) -> list[Effect]:
    """Nothing was placed, so what was queued before is queued again, unless nobody knows whether it was placed."""
    launch = table.launches[msg_id]
    if launch.dry_run:
        return _fail(table, msg_id, failure.code, failure.message)
    if failure.code in OUTCOME_UNKNOWN:
        schedules.ended(table, launch, VmReport(), failure.time_s)
    else:
        _put_back(table.make(launch.namespace), launch)
    return _fail(table, msg_id, failure.code, failure.message)


def _put_back(namespace: Namespace, launch: Launch) -> None:
    """Undo what the launch did to the queue; its own batch is dropped, so that the command can be given again."""
    queue = [*launch.queued, *namespace.queue]
    if launch.batch is not None:
        at = next(index for index, batch in enumerate(queue) if batch is launch.batch or batch == launch.batch)
        del queue[at]
    namespace.queue, namespace.plan = queue, {}
