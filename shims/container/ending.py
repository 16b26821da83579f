"""From the end of a container's first process to the moment when nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Final

from shims.container.builder import Builder
from shims.container.cleaning import Cleaning
from shims.container.exits import ended, wait_status
from shims.container.holdings import Holdings
from shims.container.journal import KillAsked
from shims.container.protocol import Exited
from shims.container.record import Container, Phase, take_all

STATUS_WAIT_S: Final = 2.0
"""How long the node may take to say how a container ended whose first warden died."""

INSIST_S: Final = 2.0
"""When to look whether a killed process has really gone."""

_LAST_WORDS: Final = 3


class Ending:
    """Ends containers, and cleans up after those that ended by themselves."""

    def __init__(self, holdings: Holdings, builder: Builder) -> None:
        self.expects_statuses: Callable[[], bool] = lambda: False
        """Whether somebody may still deliver the status of a container that is no child of ours."""
        self._holdings = holdings
        self._builder = builder

    def kill(self, container: Container) -> None:
        """End a built container because its owner wants it."""
        if not container.kill_asked:
            container.kill_asked = True
            self._holdings.note(KillAsked(guest_id=container.guest_id))
        self.end_process(container)

    def end_process(self, container: Container) -> None:
        """SIGKILL and thaw, in this order: it cannot die frozen, and must not run one instruction more."""
        self._send_kill(container)
        if container.phase is not Phase.RUNNING:
            self._thaw(container)
        self._holdings.loop.call_later(INSIST_S, lambda: self._insist(container))

    def _insist(self, container: Container) -> None:
        """Somebody else may have frozen it between the two steps."""
        if container.pidfd >= 0:
            self._holdings.log.warn("slow_to_die", guest_id=container.guest_id, phase=container.phase.name)
            self._send_kill(container)
            self._thaw(container)
            self._holdings.loop.call_later(INSIST_S, lambda: self._insist(container))

    def _send_kill(self, container: Container) -> None:
        if container.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(container.pidfd, signal.SIGKILL)

    def _thaw(self, container: Container) -> None:
        with contextlib.suppress(OSError):
            self._holdings.cgroups_of(container.tag).thaw(container.name)

    def exited(self, container: Container) -> None:
        """The pidfd says that the process has ended."""
        status = container.reaped
        if container.is_child:
            result = os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED | os.WNOHANG)
            if result is None:
                return
            status = wait_status(result)
        self._let_go(container)
        self.await_status(container, status)

    def await_status(self, container: Container, status: int | None) -> None:
        """Clean up once the exit status is known, or will not be."""
        container.phase = Phase.ENDING
        if status is None and self.expects_statuses():
            self._holdings.loop.call_later(STATUS_WAIT_S, lambda: self._clean(container, None))
        else:
            self._clean(container, status)

    def reaped(self, pid: int, status: int) -> None:
        """The node has seen the end of a process that an earlier warden had cloned."""
        for container in self._holdings.containers.values():
            if container.pid == pid and not container.is_child and container.phase.is_living:
                container.reaped = status
                if container.phase is Phase.ENDING:
                    self._clean(container, status)
                return

    def end_unbuilt(self, container: Container) -> None:
        """The creation has failed: nothing is left, and it leaves no record."""
        self._builder.close(container)
        self._close_console(container)
        container.phase = Phase.EXITED
        self._holdings.drop(container)
        self._holdings.tidy()
        if container.creator is not None:
            container.creator.refuse(container.failure)
        for asker in take_all(container.killers) + take_all(container.forgetters):
            asker.done()

    def _let_go(self, container: Container) -> None:
        """Close what was open for the process, after its last words have been read."""
        for _ in range(_LAST_WORDS):
            self._builder.read_report(container)
        self._builder.close(container)
        self._holdings.loop.unwatch(container.pidfd)
        os.close(container.pidfd)
        container.pidfd = -1
        self._close_console(container)
        container.phase = Phase.ENDING
        self._builder.release(container)

    def _close_console(self, container: Container) -> None:
        if container.console >= 0:
            os.close(container.console)
            container.console = -1

    def _clean(self, container: Container, status: int | None) -> None:
        if container.phase is not Phase.ENDING or container.ended is not None:
            return
        cgroups = self._holdings.cgroups_of(container.tag)
        container.ended = ended(
            container.guest_id,
            status,
            kill_asked=container.kill_asked,
            oom_kills=cgroups.oom_kills(container.name),
            message=container.failure,
        )
        cleaning = Cleaning(
            self._holdings.loop, cgroups, container.name, lambda problem: self._finish(container, problem)
        )
        cleaning.attempt()

    def _finish(self, container: Container, problem: str) -> None:
        end = container.ended
        if problem:
            self._holdings.log.error("cgroups_left", guest_id=container.guest_id, reason=problem)
        if container.is_new:
            how = end.exit if end else "unknown"
            container.failure = container.failure or f"the set-up of container {container.name} ended early ({how})"
            self.end_unbuilt(container)
        elif end is not None:
            self._holdings.note(end)
            container.phase = Phase.EXITED
            self._holdings.tidy()
            self._holdings.announce(
                Exited(
                    guest_id=end.guest_id,
                    exit=end.exit,
                    clean=end.clean,
                    oom_killed=end.oom_killed,
                    message=end.message,
                )
            )
            for asker in take_all(container.starters) + take_all(container.freezers):
                asker.refuse(end.message or container.over())
            for asker in take_all(container.killers):
                asker.done()
            if container.forgetters:
                self._holdings.drop(container)
            for asker in take_all(container.forgetters):
                asker.done()
