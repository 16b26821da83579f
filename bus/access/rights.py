"""What a key may do: one table over all requests, and the topics that it may watch. Pure.

A key is judged by what its request *is*, never by what the envelope says about it. Who adds a request adds it here: a
test fails until that is done.
"""

from __future__ import annotations

import functools
import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from bus.access.keys import Key, Role
from bus.errors import DeniedError, InvalidError
from bus.language import netspec, vm_config
from bus.messages import (
    cc,
    cli,
    console,
    control,
    debug,
    dnsmasq,
    files,
    gateway,
    guest,
    host,
    mount,
    namespace,
    network,
    pipe,
    pipeline,
    schedule,
    tunnel,
    vlan,
    vm,
)
from bus.messages.base import Message, Request
from bus.topics import topic


class Reach(StrEnum):
    """How far a request reaches."""

    GREETING = "greeting"
    """Says or asks nothing that is anybody's: every key may."""
    NAMESPACE = "namespace"
    """Looks at or changes the envelope's namespace and nothing else."""
    LINE = "line"
    """A command line: reaches as far as its words do, which the command server can confine."""
    HOST = "host"
    """Reaches beyond a namespace: other namespaces, files, programs or devices of the host."""
    PROCESS = "process"
    """About a process of minibus itself."""
    INTERNAL = "internal"
    """Only actors say it, to each other."""


_TABLE: dict[Reach, tuple[type[Message], ...]] = {
    Reach.GREETING: (control.Ping, gateway.GetRights),
    Reach.NAMESPACE: (
        *(cc.PostCommand, cc.SetFilter, cc.SetPrefix, cc.GetCcState, cc.GetClients, cc.GetConnectedGuests),
        *(cc.GetCommands, cc.GetOutcomes, cc.SignalCommand, cc.GetResponses, cc.DeleteCommands, cc.DeleteResponses),
        *(cc.ClearCc, cc.GetGuestProcesses),
        *(namespace.OpenNamespace, namespace.GetDraft, namespace.SetConfig),
        *(namespace.ClearConfig, namespace.SaveConfig, namespace.RestoreConfig, namespace.CloneConfig),
        *(namespace.GetSavedConfigs, namespace.QueueVms, namespace.LaunchQueue, namespace.GetQueue),
        *(namespace.FlushQueue, namespace.SetQueueing, namespace.SetLoadMetric),
        *(schedule.GetPlan, schedule.ChangePlan, schedule.GetSchedules),
        *(vm.GetVms, vm.GetVmNames, vm.StartVms, vm.StopVms, vm.KillVms, vm.FlushVms, vm.TagVms, vm.ClearVmTags),
        # Of the namespace's VMs: their actor sees to it, because these are named by number.
        *(console.ReadConsole, console.TypeAtConsole, console.ResizeConsole),
        *(vm.TopVms, network.GetInterfaces, network.GetHostTaps),
        *(pipe.ReadPipe, pipe.LeavePipe, pipe.WritePipe, pipe.SetPipe, pipe.GetPipes, pipe.DeletePipes),
        *(pipeline.GetPipelines, pipeline.ClearPipelines),
    ),
    Reach.LINE: (cli.RunLine,),
    Reach.HOST: (
        *(control.Lookup, control.GetAddresses, control.GetTopics, control.CountReaders, control.CountAllReaders),
        *(control.GetActors, control.RestartActor, control.StopNode, control.Nuke),
        *(debug.GetLogging, debug.SetLogging, debug.ResetLogging, debug.GetFlags),
        *(files.GetFile, files.FetchUrl, files.GetTransfers, files.MatchFiles, files.ListFiles, files.GetFiles),
        files.DeleteFiles,
        *(host.RunProgram, host.StartJob, host.GetJobs, host.GetJobOutput, host.KillJobs, host.ClearJobs),
        host.CheckHost,
        # An interface is named by the number of a VM, whatever its namespace.
        *(network.ConnectInterfaces, network.AddInterfaces, network.ShapeInterfaces),
        # These open ports of the host, or reach for its interfaces.
        *(cc.Listen, cc.Unlisten, tunnel.OpenTunnel, tunnel.GetTunnels, tunnel.CloseTunnel),
        *(mount.MountGuest, mount.UnmountGuests, mount.GetMounts),
        *(network.CreateTap, network.DeleteTaps, network.MirrorTap, network.ClearMirrors, network.TrunkBridge),
        *(network.GetBridges, network.GetRates, network.GetMirrors, vm.WireVms),
        *(
            dnsmasq.GetDnsmasqs,
            dnsmasq.StartDnsmasq,
            dnsmasq.KillDnsmasqs,
            dnsmasq.ConfigureDnsmasq,
            dnsmasq.UnconfigureDnsmasq,
        ),
        # The words may name a VLAN of another namespace; the numbers are everybody's.
        *(vlan.ResolveVlans, vlan.GetVlans, vlan.AddVlan, vlan.SetVlanRange, vlan.BlacklistVlan, vlan.ClearVlans),
        vlan.ReturnVlans,
        namespace.DestroyNamespace,  # takes its host taps and VLANs along, which those who may end it could not remove
        *(pipeline.StartPipeline, namespace.GetNamespaces, vm.GetHostLoad, vm.GetVmCounts),
        gateway.ReloadKeys,
    ),
    Reach.PROCESS: (
        *(control.GetStatus, debug.GetLogLines, debug.GetRuntime, debug.GetStacks, debug.GetMemory),
        *(debug.StartProfile, debug.StopProfile, debug.GetInputs, debug.GetUnderstood),
    ),
    Reach.INTERNAL: (
        *(control.Hello, control.Goodbye),
        *(guest.CreateGuests, guest.StartGuests, guest.PauseGuests, guest.KillGuests, guest.ForgetGuests),
        *(guest.ReportExits, guest.ReportConsoles, guest.ListGuests, guest.SampleGuests, vm.ReportInterfaces),
        *(network.PlugGuests, network.UnplugGuests, network.ForgetGuestNics, network.EndNetworks, cc.EndCc),
        *(schedule.PlaceVms, vm.LaunchVms),
    ),
}
REACH: dict[type[Message], Reach] = {klass: reach for reach, classes in _TABLE.items() for klass in classes}

TAP_REQUESTS = (pipe.ReadPipe, pipe.LeavePipe)
NAMESPACED = ("vm", "namespace", "pipe", "pipe-in", "pipeline", "cc", "net", "capture")
"""First words of topics whose second word is a namespace; all others are about the host."""
OF_HOST = ("node", "stats", "log", "file")
"""The others, `sync` aside, which everybody has."""


def admit(key: Key, request: Message, namespace: str) -> Message:
    """The request as this key may send it in this namespace; raises DeniedError with one sentence."""
    reach = REACH.get(type(request))
    if reach is None or reach is Reach.INTERNAL:
        raise DeniedError(f"`{_tag(request)}` is not for clients: only processes of minibus say it, on their own host")
    if reach is Reach.GREETING:
        return request
    if key.namespaces and namespace not in key.namespaces and reach in (Reach.NAMESPACE, Reach.LINE):
        raise DeniedError(f"the key {key.name} is not for the namespace `{namespace[:80]}`: {_only(key)}")
    if key.role is Role.TAP:
        return _admit_tap(key, request, namespace)
    if not key.namespaces:
        return request
    if isinstance(request, cli.RunLine):
        return msgspec.structs.replace(request, confined=key.namespaces)
    if reach is not Reach.NAMESPACE:
        raise DeniedError(f"`{_tag(request)}` reaches beyond namespaces, and the key {key.name} does not: {_only(key)}")
    if why := beyond(request, namespace):
        raise DeniedError(f"{why}, and the key {key.name} is limited to namespaces")
    return request


def _only(key: Key) -> str:
    return f"only {', '.join(key.namespaces[:10])}{', ...' if len(key.namespaces) > 10 else ''}"


def _tag(request: Message) -> str:
    return str(request.__struct_config__.tag)


def beyond(request: Message, where: str) -> str:
    """Why a request that acts in the namespace `where` reaches further in one of its fields; empty if it does not."""
    match request:
        case namespace.SetConfig(param=param, words=words):
            return _config_beyond(param, words, where)
        case pipe.SetPipe(via=via, log=log) if via or log:
            return "`via` runs a program of the host" if via else "`log` fills the host's log"
        case cc.PostCommand(command=command) if command.kind is cc.CommandKind.SEND:
            return "sending files reads the host's file area"
        case _:
            return ""


def _config_beyond(name: str, words: tuple[str, ...], where: str) -> str:
    try:
        param = vm_config.find(name)
    except vm_config.VmConfigError:
        return ""  # there is no such parameter, as its owner will say
    if vm_config.reaches_host(param):
        return f"`vm config {name[:80]}` reaches for what is the host's"
    return netspec.beyond_namespace(words, where) if param.shape is vm_config.Shape.NETSPECS else ""


def _admit_tap(key: Key, request: Message, namespace: str) -> Message:
    if not isinstance(request, TAP_REQUESTS):
        raise DeniedError(f"the key {key.name} may only watch: `{_tag(request)}` needs one with the role control")
    whole = topic("pipe", namespace, request.pipe)
    if narrow(whole, key) != (whole,):
        raise DeniedError(f"the key {key.name} may not read the pipe `{request.pipe[:80]}` of `{namespace[:80]}`")
    # Under a name that is this key's: readers' names can be seen in topics, and whoever says one gets what is for it.
    if isinstance(request, pipe.LeavePipe):
        return pipe.LeavePipe(pipe=request.pipe, reader=_own_name(key, request.reader))
    return msgspec.structs.replace(request, reader=_own_name(key, request.reader))


def _own_name(key: Key, reader: str) -> str:
    return f"key-{hashlib.sha256(f'{key.name}/{reader}'.encode()).hexdigest()[:32]}"


# --- topics


def namespace_of(topic_text: str) -> str | None:
    """The namespace that an event on this topic is about; None if it is about the host."""
    first, _, rest = topic_text.partition("/")
    second, slash, _ = rest.partition("/")
    return second if slash and first in NAMESPACED else None


@functools.lru_cache(maxsize=1024)  # clients may subscribe thousands of times
def visible(key: Key) -> tuple[str, ...]:
    """The topic prefixes that a key may watch, none within another."""
    topics = key.topics or ("",)
    if key.namespaces:
        inside = tuple(topic(first, one) for one in key.namespaces for first in NAMESPACED)
        topics = tuple(found for one in topics for each in inside if (found := _both(one, each)) is not None)
    return _without_nested(topics)


def narrow(prefix: str, key: Key) -> tuple[str, ...]:
    """What a key gets of what a subscription to this prefix asks for: as many prefixes as it takes, or none."""
    return tuple(found for one in visible(key) if (found := _both(prefix, one)) is not None)


def check_topics(key: Key) -> None:
    """Raise InvalidError if one of the topics of a new key is none, or none of its namespaces: it would see nothing."""
    for prefix in key.topics:
        first = prefix.partition("/")[0]
        if first not in (*NAMESPACED, *OF_HOST):
            known = ", ".join(f"{word}/" for word in (*NAMESPACED, *OF_HOST))
            raise InvalidError(f"no topic begins with `{first[:80]}/`: they begin with {known}")
        if not visible(msgspec.structs.replace(key, topics=(prefix,))):
            raise InvalidError(f"`{prefix[:80]}` tells nothing of the namespaces of this key: {_only(key)}")


def _both(one: str, other: str) -> str | None:
    """The prefix of the topics that begin with both."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return longer if longer.startswith(shorter) else None


def _without_nested(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    kept: list[str] = []
    for one in sorted(set(prefixes)):
        if not (kept and one.startswith(kept[-1])):  # sorted: what contains it comes before it
            kept.append(one)
    return tuple(kept)


def requests_of(klass: type[Request[Any]] = Request) -> set[type[Message]]:
    """Every request class there is, for the test that all have their place."""
    found: set[type[Message]] = set()
    for child in klass.__subclasses__():
        found |= requests_of(child) if child.__subclasses__() else {child}
    return found
