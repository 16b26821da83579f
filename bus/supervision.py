"""Decisions of the node about its children, without any process: who starts when, who is restarted, who is hung.

One-for-one: nobody takes others down. A child that falls over more than `max_restarts` times within `within_s` is
given up; one that stays up for `STABLE_S` begins anew. After Erlang's supervisors and Jupyter's restarter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

STABLE_S = 10.0
PING_INTERVAL_S = 1.0
HANG_S = 5.0
"""Silence after which a child counts as hung. Its lane is served before all else, so a busy child still answers."""
START_S = 30.0
"""A child that is not ready by then counts as hung."""


@dataclass(frozen=True)
class ChildSpec:
    """What a node has to know about one of its processes."""

    name: str
    entry: str
    """`module:attribute` of a callable `(base, lane_socket) -> exit status`."""
    stage: int = 2
    """Children of a stage start when all of the earlier ones are ready."""
    max_restarts: int = 5
    within_s: float = 60.0
    backoff_s: tuple[float, float] = (0.1, 10.0)
    stop_grace_s: float = 10.0
    outlives_node: bool = False
    """Keeps running when the node ends, as long as it has something to look after; found again by its lock."""


class ChildState(StrEnum):
    """Where a child is, as `minibus ps` shows it."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class Child:
    """One child, as the node sees it; times on the monotonic clock."""

    spec: ChildSpec
    state: ChildState = ChildState.WAITING
    pid: int = 0
    inbox: int = 0
    restarts: int = 0
    reason: str = ""
    refusal: str = ""
    """The sentence with which it said that it cannot run here."""
    started_s: float = 0.0
    heard_s: float = 0.0
    start_at_s: float = 0.0
    kill_at_s: float = 0.0
    falls_s: list[float] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether a process exists."""
        return self.pid != 0


def row(child: Child) -> dict[str, str | int]:
    """What `minibus ps` shows of it."""
    return {
        "actor": child.spec.name,
        "pid": child.pid,
        "state": child.state.value,
        "restarts": child.restarts,
        "inbox": child.inbox,
        "reason": child.reason,
    }


def started(child: Child, pid: int, now_s: float) -> None:
    """It has been forked, or found running."""
    child.pid, child.started_s, child.heard_s = pid, now_s, now_s
    child.state, child.refusal = ChildState.STARTING, ""


def ready(child: Child, now_s: float) -> None:
    """It serves."""
    child.heard_s = now_s
    if child.state is ChildState.STARTING:
        child.state = ChildState.RUNNING


def heard(child: Child, inbox: int, now_s: float) -> None:
    """It has answered a ping."""
    child.heard_s, child.inbox = now_s, inbox


def not_watched(children: list[Child], now_s: float) -> None:
    """The node itself did not run for a while (stopped, or starved): what children said meanwhile is still unread."""
    for child in children:
        child.heard_s = now_s


def stopping(child: Child, now_s: float) -> None:
    """It has been asked to end."""
    child.state = ChildState.STOPPING
    child.kill_at_s = now_s + child.spec.stop_grace_s


def ended(child: Child, how: str, now_s: float) -> None:
    """Its process is gone: decide whether and when it comes back."""
    lived_s = now_s - child.started_s
    child.pid = child.inbox = 0
    if child.state is ChildState.STOPPING:
        child.state = ChildState.STOPPED
        return
    child.reason = child.refusal or how
    if child.refusal and child.restarts == 0 and child.state is ChildState.STARTING:
        child.state = ChildState.FAILED
        return
    if lived_s >= STABLE_S:
        child.falls_s.clear()
    child.falls_s = [at for at in child.falls_s if at > now_s - child.spec.within_s] + [now_s]
    if len(child.falls_s) > child.spec.max_restarts:
        child.state = ChildState.FAILED
        return
    first, most = child.spec.backoff_s
    child.state = ChildState.BACKOFF
    child.restarts += 1
    child.start_at_s = now_s + min(first * 2 ** (len(child.falls_s) - 1), most)


def is_hung(child: Child, now_s: float) -> bool:
    """Whether to end it by force."""
    match child.state:
        case ChildState.STARTING:
            return now_s - child.started_s > START_S
        case ChildState.RUNNING:
            return now_s - child.heard_s > HANG_S
        case ChildState.STOPPING:
            return child.alive and now_s > child.kill_at_s
        case _:
            return False


def to_start(children: list[Child], now_s: float) -> list[Child]:
    """Whom to fork now: restarts whose time has come, and the next stage once the one before it is ready."""
    due = [child for child in children if child.state is ChildState.BACKOFF and now_s >= child.start_at_s]
    waiting = [child for child in children if child.state is ChildState.WAITING]
    if not waiting:
        return due
    stage = min(child.spec.stage for child in waiting)
    earlier = [child for child in children if child.spec.stage < stage]
    if all_ready(earlier):
        due += [child for child in waiting if child.spec.stage == stage]
    return due


def all_ready(children: list[Child]) -> bool:
    """Whether everybody serves."""
    return all(child.state is ChildState.RUNNING for child in children)
