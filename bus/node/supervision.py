"""Decisions of the node about its children, without any process: who starts when, who is restarted, who is hung.

One-for-one: nobody takes others down. A child that falls over more than `max_restarts` times within `within_s` is
given up; one that stays up for `STABLE_S` begins anew. After Erlang's supervisors and Jupyter's restarter.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

STABLE_S = 10.0
PING_INTERVAL_S = 1.0
HANG_S = 5.0
"""Silence after which a child counts as hung. Its lane is served before all else, so a busy child still answers."""
START_S = 30.0
"""A child that is not ready by then counts as hung."""
START_AGAIN_S = 1.0
"""After the system had no room for one more process."""
ANSWER_S = 0.1
"""Between the order to restart a child and its end, so that the broker can still pass on that it was given."""
KEPT_FALLS = 5
"""Of each child that are told, newest last."""
MAX_REASON = 300
"""Characters."""


@dataclass(frozen=True)
class ChildSpec:
    """What a node has to know about one of its processes."""

    name: str
    entry: str
    """`module:attribute` of a callable `(base, lane_socket) -> exit status`."""
    prepare: str = ""
    """Likewise of one without arguments, which the new process calls first."""
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
    verdict: str = ""
    """Why the node ended it by force."""
    last_words: str = ""
    """What it said before it ended by itself."""
    falls: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_FALLS))
    """`time_s` (UTC), `kind` and `reason` of the last ones."""
    falls_by_kind: Counter[str] = field(default_factory=Counter)
    end_at_s: float = 0.0
    """When it is to be asked to end, because somebody wants it restarted."""
    is_wanted_again: bool = False
    """It has been asked to end and is then to be started again."""

    @property
    def alive(self) -> bool:
        """Whether a process exists."""
        return self.pid != 0


def row(child: Child) -> dict[str, Any]:
    """What `minibus ps` shows of it."""
    return {
        "actor": child.spec.name,
        "pid": child.pid,
        "state": child.state.value,
        "restarts": child.restarts,
        "inbox": child.inbox,
        "reason": child.reason,
        "falls": list(child.falls),
        "falls_by_kind": dict(child.falls_by_kind),
    }


def started(child: Child, pid: int, now_s: float) -> None:
    """It has been forked, or found running."""
    child.pid, child.started_s, child.heard_s = pid, now_s, now_s
    child.state = ChildState.STARTING
    child.refusal = child.verdict = child.last_words = ""
    child.end_at_s = 0.0


def put_off(child: Child, now_s: float) -> None:
    """It could not be started, through no fault of its own."""
    child.state = ChildState.BACKOFF
    child.start_at_s = now_s + START_AGAIN_S


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


def restart(children: list[Child], name: str, now_s: float) -> dict[str, str]:
    """Somebody wants a child ended, if it lives, and started, with a clean slate; `error` says why that cannot be."""
    child = next((child for child in children if child.spec.name == name), None)
    if child is None:
        return {"error": f"there is no process `{name[:80]}`; there are {', '.join(one.spec.name for one in children)}"}
    if child.spec.outlives_node and child.alive:
        return {"error": f"{name} is not ended while guests may depend on it; it is started again when it is down"}
    child.falls_s.clear()
    if child.alive and child.state is not ChildState.STOPPING:
        child.end_at_s = now_s + ANSWER_S
    elif not child.alive and child.state is not ChildState.WAITING:
        _start_now(child, now_s)
    return {}


def to_end(children: list[Child], now_s: float) -> list[Child]:
    """Whom to ask to end now, because it is to be restarted; it counts as asked."""
    found = [child for child in children if child.end_at_s and child.alive and now_s >= child.end_at_s]
    for child in found:
        child.end_at_s = 0.0
        child.is_wanted_again = True
        stopping(child, now_s)
    return found


def _start_now(child: Child, now_s: float) -> None:
    child.is_wanted_again = False
    child.state = ChildState.BACKOFF
    child.restarts += 1
    child.reason = "asked for"
    child.start_at_s = now_s


def hung(child: Child, now_s: float) -> None:
    """It is being ended by force, because it does not answer; if that takes a while, it is tried again."""
    child.heard_s = now_s
    child.verdict = f"hung: no answer for {HANG_S:g} s" if child.state is ChildState.RUNNING else "hung: never ready"


def ended(child: Child, how: str, now_s: float, wall_s: float = 0.0) -> None:
    """Its process is gone: decide whether and when it comes back. `wall_s` is UTC seconds since 1970, to be told."""
    lived_s = now_s - child.started_s
    child.pid = child.inbox = 0
    if child.state is ChildState.STOPPING:
        child.state = ChildState.STOPPED
        if child.is_wanted_again:
            _start_now(child, now_s)
        return
    child.reason = _reason(child, how)
    kind = _kind_of_fall(child, how)
    child.falls.append({"time_s": wall_s, "kind": kind, "reason": child.reason})
    child.falls_by_kind[kind] += 1
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


def _reason(child: Child, how: str) -> str:
    if child.refusal:
        return child.refusal
    if child.verdict:
        return child.verdict
    return f"{how}: {child.last_words}"[:MAX_REASON] if child.last_words else how


def _kind_of_fall(child: Child, how: str) -> str:
    """One of few words, for counting: `refused`, `hung`, `killed`, `exited` or `lost`."""
    if child.refusal:
        return "refused"
    if child.verdict:
        return "hung"
    return next((kind for start, kind in _KINDS if how.startswith(start)), "lost")


_KINDS = (("killed by", "killed"), ("exit status", "exited"))


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


def status(children: list[Child]) -> str:
    """How they are, in a line."""
    others = [f"{child.spec.name} {child.state.value}" for child in children if child.state is not ChildState.RUNNING]
    return ", ".join(others) if others else f"all {len(children)} processes run"


def all_ready(children: list[Child]) -> bool:
    """Whether everybody serves."""
    return all(child.state is ChildState.RUNNING for child in children)
