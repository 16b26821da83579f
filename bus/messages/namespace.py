"""Namespaces: the `vm config` draft and its saved copies, names, and the launch queue."""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request
from bus.messages.vm import GuestKind, VmConfig, VmReport

DEFAULT_METRIC = "cpucommit"
LOAD_METRICS = (DEFAULT_METRIC, "memcommit", "netcommit")
"""What may make a host loaded: VCPUs for each CPU, memory for each MiB, or interfaces of its VMs."""


class OpenNamespace(Request[Ack], frozen=True, kw_only=True, tag="namespace.open"):
    """Create the envelope's namespace unless it exists; fails with `invalid` if nothing may be called so."""


class Draft(Message, frozen=True, kw_only=True, tag="namespace.draft"):
    """The configuration that the next launch will copy."""

    config: VmConfig


class GetDraft(Query[Draft], frozen=True, kw_only=True, tag="namespace.draft.get"):
    """The current `vm config` of the envelope's namespace."""


class SetConfig(Request[Ack], frozen=True, kw_only=True, tag="namespace.config.set"):
    """Set one parameter from the words a user typed; fails with `invalid` and the reason."""

    param: str
    words: tuple[str, ...]


class ClearConfig(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="namespace.config.clear"):
    """Back to the default: everything, one parameter, or one key of a map parameter."""

    param: str = ""
    key: str = ""


class SaveConfig(Request[Ack], frozen=True, kw_only=True, tag="namespace.config.save"):
    """Keep a copy of the draft under a name."""

    name: str


class RestoreConfig(Request[Ack], frozen=True, kw_only=True, tag="namespace.config.restore"):
    """Make a saved copy the draft."""

    name: str


class CloneConfig(Request[Ack], frozen=True, kw_only=True, tag="namespace.config.clone"):
    """Make the configuration of a VM (name or id) the draft."""

    vm: str


class SavedConfigs(Message, frozen=True, kw_only=True, tag="namespace.saved"):
    """Names of the saved copies, sorted."""

    names: tuple[str, ...]


class GetSavedConfigs(Query[SavedConfigs], frozen=True, kw_only=True, tag="namespace.saved.get"):
    """Which copies are there?"""


class QueueVms(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="namespace.queue"):
    """Queue VMs with the current draft and, unless the namespace queues, launch the whole queue."""

    kind: GuestKind
    names: str
    """A count, or a list of names and ranges, as typed."""
    config: str = ""
    """Name of a saved copy to use in place of the draft, which stays as it is; `not_found` if there is none."""


class LaunchQueue(Request[VmReport], frozen=True, kw_only=True, omit_defaults=True, tag="namespace.launch"):
    """Launch all that is queued."""

    dry_run: bool = False
    """Only say which VM would go to which host."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """VMs queued by one command."""

    kind: GuestKind
    names: tuple[str, ...]
    config: VmConfig


class Queue(Message, frozen=True, kw_only=True, tag="namespace.queued"):
    """What is queued."""

    batches: tuple[Batch, ...]


class GetQueue(Query[Queue], frozen=True, kw_only=True, tag="namespace.queued.get"):
    """What is queued?"""


class FlushQueue(Request[Ack], frozen=True, kw_only=True, tag="namespace.queue.flush"):
    """Empty the queue."""


class SetQueueing(Request[Ack], frozen=True, kw_only=True, tag="namespace.queueing.set"):
    """Collect launches until told (`True`), or launch at once."""

    queueing: bool


class SetLoadMetric(Request[Ack], frozen=True, kw_only=True, tag="namespace.metric.set"):
    """Choose what makes a host loaded: cpucommit, memcommit or netcommit; fails with `invalid` for anything else."""

    metric: str


class NamespaceInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One namespace as its owner sees it."""

    name: str
    hosts: tuple[str, ...]
    queueing: bool = False
    queued: int = 0
    load_metric: str = DEFAULT_METRIC


class NamespaceList(Message, frozen=True, kw_only=True, tag="namespace.list"):
    """All namespaces, by name."""

    namespaces: tuple[NamespaceInfo, ...]


class DestroyReport(Message, frozen=True, kw_only=True, omit_defaults=True, tag="namespace.destroy_report"):
    """What went wrong, one sentence each; nothing if all is gone."""

    errors: tuple[str, ...] = ()


class GetNamespaces(Query[NamespaceList], frozen=True, kw_only=True, tag="namespace.list.get"):
    """Which namespaces are there?"""


class DestroyNamespace(Request[DestroyReport], frozen=True, kw_only=True, tag="namespace.destroy"):
    """End the envelope's namespace: its VMs are killed and flushed on all its hosts, then it is forgotten.

    May be repeated; goes on past errors and reports them. `not_found` if there is no such namespace. The default
    namespace is emptied and stays.
    """


class NamespaceEvent(Event, frozen=True, kw_only=True, tag="namespace.event"):
    """Base of the events on `namespace/<namespace>/<what>/`."""

    name: str


class NamespaceOpened(NamespaceEvent, frozen=True, kw_only=True, tag="namespace.opened"):
    """A namespace exists from now on: it was mentioned for the first time."""


class NamespaceDestroyed(NamespaceEvent, frozen=True, kw_only=True, tag="namespace.destroyed"):
    """Nothing of a namespace is left; the default namespace exists on, empty."""
