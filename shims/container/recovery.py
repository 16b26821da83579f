"""After a crash of the warden: what its journal says, compared with what is really there."""

from __future__ import annotations

import contextlib

from shims.container.cleaning import Cleaning
from shims.container.holdings import Holdings
from shims.container.journal import Past
from shims.container.lifecycle import Lifecycle
from shims.container.record import Container, Phase, take_all
from shims.linux.process import open_pidfd

WARDEN_DIED = "its warden died before it was started"


def recover(holdings: Holdings, lifecycle: Lifecycle) -> None:
    """Take over every container of the journal: running ones are watched, ended ones listed, unfinished ones ended."""
    past = holdings.journal.past
    for one in past.values():
        _recover_one(holdings, lifecycle, one)
    holdings.tidy()
    if past:
        living = sum(container.phase.is_living for container in holdings.containers.values())
        holdings.log.info("recovered", recorded=len(past), living=living)


def _recover_one(holdings: Holdings, lifecycle: Lifecycle, past: Past) -> None:
    container = Container(
        guest_id=past.guest_id,
        tag=past.tag,
        phase=Phase.EXITED,
        is_child=False,
        pid=past.pid,
        start_ticks=past.start_ticks,
        kill_asked=past.kill_asked,
        was_built=past.built or past.started,
        was_started=past.started,
        has_run=past.ran,
        ended=past.ended,
    )
    holdings.containers[past.guest_id] = container
    if past.ended is not None:
        return
    if not past.pid:
        _clean_up_unborn(holdings, container)
        return
    try:
        container.pidfd = open_pidfd(past.pid, past.start_ticks)
    except ProcessLookupError:
        container.failure = "" if past.ran else WARDEN_DIED
        lifecycle.ending.await_status(container, None)
        return
    _adopt(holdings, lifecycle, container)


def _clean_up_unborn(holdings: Holdings, container: Container) -> None:
    """Its clone was announced, and nothing more is known: end whatever has joined its cgroups.

    A process that had not joined them yet got the SIGKILL that it had asked for in case its parent dies, and would
    find its gate at the end of file otherwise.
    """
    cgroups = holdings.cgroups_of(container.tag)
    cgroups.kill(container.name)
    with contextlib.suppress(OSError):
        cgroups.thaw(container.name)
    container.phase = Phase.ENDING
    container.failure = WARDEN_DIED

    def finish(problem: str) -> None:
        if problem:
            holdings.log.error("cgroups_left", guest_id=container.guest_id, reason=problem)
        container.phase = Phase.EXITED
        holdings.drop(container)
        holdings.tidy()
        for asker in take_all(container.killers) + take_all(container.forgetters):
            asker.done()

    Cleaning(holdings.loop, cgroups, container.name, finish).attempt()


def _adopt(holdings: Holdings, lifecycle: Lifecycle, container: Container) -> None:
    """Watch a living one, and end it if it was never let through its gate: nobody else can open it any more."""
    holdings.loop.watch(container.pidfd, lambda _: lifecycle.exited(container))
    try:
        frozen = holdings.cgroups_of(container.tag).is_frozen(container.name)
    except OSError:  # it had not come as far as its cgroups, or somebody has removed them
        frozen = False
    # A freeze asked for during a start waits for the exec, and the exec is written down first: one that is frozen
    # without it still stands at the gate.
    through_gate = container.has_run or (container.was_started and not frozen)
    if through_gate:
        container.has_run = True
        container.phase = Phase.FROZEN if frozen else Phase.RUNNING
    else:
        container.phase = Phase.WAITING
        container.failure = WARDEN_DIED
        lifecycle.ending.end_process(container)
