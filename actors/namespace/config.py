"""`vm config` of a namespace: the draft, its saved copies, copies of VMs."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import msgspec

from actors.namespace.table import Clone, NamespaceTable
from actors.namespace.vlan_requests import look_up, renewed
from actors.namespace.vlans import VlanError
from bus.actor.step import Ask, Effect, Fail, Received, Reply
from bus.language import vm_config
from bus.language.vm_config import VmConfigError
from bus.language.vm_names import MAX_NAME, VmNameError, is_valid, parse_target
from bus.messages.base import Ack
from bus.messages.namespace import ClearConfig, CloneConfig, RestoreConfig, SaveConfig, SetConfig
from bus.messages.vlan import Vlan
from bus.messages.vm import GetVms, VmConfig, VmInfo, VmList

CLONE_TIMEOUT_S = 30.0
MAX_CONFIG = 65_536
"""Bytes of a configuration."""
MAX_SAVED = 1_000
"""Configurations that a namespace may keep; all of them are in every snapshot."""
MAX_SAVED_BYTES = 16 * 1024 * 1024
"""All of them together."""
NOT_COPIED_TAG = "error"
"""Says what went wrong with the VM it is on."""


def change(table: NamespaceTable, inp: Received, msg: SetConfig | ClearConfig | SaveConfig | RestoreConfig) -> Effect:
    """Change the draft or keep a copy of it."""
    namespace = table.make(inp.namespace)
    vlans = table.vlans

    def find_vlans(texts: tuple[str, ...]) -> tuple[Vlan, ...]:
        nonlocal vlans
        vlans, found = look_up(table, texts, inp.namespace)
        return found

    try:
        match msg:
            case SetConfig():
                new = vm_config.assign(namespace.draft, msg.param, msg.words, Path(table.files_dir), find_vlans)
                namespace.draft, table.vlans = _bounded(new), vlans
            case ClearConfig():
                namespace.draft = vm_config.clear(namespace.draft, msg.param, msg.key)
            case SaveConfig(name=name):
                if not is_valid(name):
                    allowed = f"1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
                    raise VmConfigError(f"invalid config name, `{name[:MAX_NAME]}` is not {allowed}")
                if name not in namespace.saved and len(namespace.saved) >= MAX_SAVED:
                    raise VmConfigError(f"there are {MAX_SAVED} saved configs already, which is as many as can be")
                _check_room({**namespace.saved, name: namespace.draft})
                namespace.saved[name] = namespace.draft
            case RestoreConfig(name=name):
                if name not in namespace.saved:
                    return Fail(msg_id=inp.msg_id, code="not_found", message=f"config {name[:80]} does not exist")
                namespace.draft = renewed(table, namespace.saved[name], inp.namespace)
            case _:
                assert_never(msg)
    except VmConfigError as error:
        return Fail(msg_id=inp.msg_id, code="invalid", message=str(error))
    except VlanError as error:
        return Fail(msg_id=inp.msg_id, code=error.code, message=str(error))
    return Reply(msg_id=inp.msg_id, body=Ack())


def _bounded(config: VmConfig) -> VmConfig:
    """The configuration, which every VM gets a copy of; raises VmConfigError if it is too large for that."""
    size = len(msgspec.msgpack.encode(config))
    if size > MAX_CONFIG:
        raise VmConfigError(f"the configuration would have {size} bytes, at most {MAX_CONFIG} are allowed")
    return config


def _check_room(saved: dict[str, VmConfig]) -> None:
    if len(saved) * MAX_CONFIG <= MAX_SAVED_BYTES:
        return
    if sum(len(msgspec.msgpack.encode(one)) for one in saved.values()) > MAX_SAVED_BYTES:
        raise VmConfigError(f"the saved configs would have more than {MAX_SAVED_BYTES >> 20} MiB together")


def clone(table: NamespaceTable, inp: Received, msg: CloneConfig) -> list[Effect]:
    """Look for the VM on every host of the namespace."""
    try:
        single = parse_target(msg.vm).single
    except VmNameError as error:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=str(error))]
    hosts = table.make(inp.namespace).hosts
    if not single:
        return [Fail(msg_id=inp.msg_id, code="invalid", message="vm config clone takes the name or id of one VM")]
    if not hosts:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=f"vm not found: {msg.vm}")]
    table.clones[inp.msg_id] = Clone(namespace=inp.namespace, vm=msg.vm, open=len(hosts))
    effects: list[Effect] = []
    for host in hosts:
        tag = f"clone/{host}/{inp.msg_id}"
        table.asks[tag] = inp.msg_id
        effects.append(
            Ask(
                tag=tag,
                to=f"vm@{host}",
                body=GetVms(target=msg.vm),
                timeout_s=CLONE_TIMEOUT_S,
                namespace=inp.namespace,
                cause=inp.msg_id,
            )
        )
    return effects


def clone_came(table: NamespaceTable, msg_id: str, found: VmList) -> list[Effect]:
    """A host has the VM, or says in a list that it has not."""
    if msg_id not in table.clones:
        return []  # another host had it
    if not found.vms:
        return clone_failed(table, msg_id, "not_found", "")
    name = table.clones.pop(msg_id).namespace
    namespace = table.make(name)
    try:
        namespace.draft = renewed(table, cloned(namespace.draft, found.vms[0]), name)
    except VlanError as error:
        return [Fail(msg_id=msg_id, code=error.code, message=str(error))]
    return [Reply(msg_id=msg_id, body=Ack())]


def clone_failed(table: NamespaceTable, msg_id: str, code: str, message: str) -> list[Effect]:
    """A host does not have the VM, or could not say."""
    clone = table.clones.get(msg_id)
    if clone is None:
        return []
    clone.open -= 1
    if code != "not_found":
        clone.failure, clone.failure_code = message, code
    if clone.open > 0:
        return []
    del table.clones[msg_id]
    if clone.failure:
        return [Fail(msg_id=msg_id, code=clone.failure_code, message=clone.failure)]
    return [Fail(msg_id=msg_id, code="not_found", message=f"vm not found: {clone.vm}")]


def cloned(draft: VmConfig, vm: VmInfo) -> VmConfig:
    """The draft with all that counts for the VM's kind taken from it, but neither its UUID nor its error."""
    fields = [param.field for param in vm_config.PARAMS if vm.kind in param.kinds]
    copied = {field: getattr(vm.config, field) for field in fields}
    copied["uuid"] = ""
    copied["tags"] = {key: value for key, value in vm.tags.items() if key != NOT_COPIED_TAG}
    return msgspec.structs.replace(draft, **copied)
