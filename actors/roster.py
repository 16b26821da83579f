"""The processes of a node, one line each. The node finds this module by its name."""

from __future__ import annotations

from bus import descriptors
from bus.node.supervision import ChildSpec
from bus.settings import listen_address, metrics_address
from shims.linux import process

PROMPT = "shims.linux.scheduling:be_prompt"
"""For those whom people wait for, and who start no programs, which would inherit it."""

ROSTER: tuple[ChildSpec, ...] = (
    ChildSpec("warden", "shims.container.warden:run", stage=0, outlives_node=True),
    ChildSpec("broker", "bus.broker.broker:run", prepare=PROMPT, stage=1),
    ChildSpec("namespace", "actors.namespace.actor:NamespaceActor.run_process", prepare=PROMPT),
    ChildSpec("scheduler", "actors.scheduler.actor:SchedulerActor.run_process", prepare=PROMPT),
    ChildSpec("vm", "actors.vm.actor:VmActor.run_process", prepare=PROMPT),
    ChildSpec("container", "actors.container.actor:ContainerActor.run_process", prepare=PROMPT),
    ChildSpec("network", "actors.network.actor:NetworkActor.run_process"),
    ChildSpec("host", "actors.host.actor:HostActor.run_process"),
    ChildSpec("files", "actors.files.actor:FilesActor.run_process"),
    ChildSpec("plumber", "actors.plumber.actor:PlumberActor.run_process"),
    ChildSpec("cc", "actors.cc.actor:CcActor.run_process", prepare=PROMPT),
    ChildSpec("cli", "cli.server.actor:CliActor.run_process", prepare=PROMPT),
)
METRICS = ChildSpec("metrics", "actors.metrics.actor:MetricsActor.run_process")
GATEWAY = ChildSpec("gateway", "bus.gateway.gateway:Gateway.run_process", prepare=PROMPT)
"""Like METRICS only if somebody asked for it: who does not use it pays nothing for it."""


def children() -> tuple[ChildSpec, ...]:
    """The processes of the node that is about to start."""
    metrics = (METRICS,) if metrics_address.wanted() else ()
    return (*ROSTER, *metrics, *((GATEWAY,) if listen_address.wanted() else ()))


def prepare_node() -> None:
    """What the node needs from the kernel before its first fork."""
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    descriptors.raise_limit()
