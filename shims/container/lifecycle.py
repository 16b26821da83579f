"""The life of containers in the warden: what each call does in each phase."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

import msgspec

from shims.container.builder import Builder
from shims.container.cloner_link import ClonerLink
from shims.container.descriptors import close_descriptor
from shims.container.ending import Ending
from shims.container.freezing import FreezeWatch
from shims.container.holdings import Holdings
from shims.container.journal import Built, Ran, Started
from shims.container.protocol import ConsoleOpened, Containers, ContainerSpec, ContainerStatus, Created
from shims.container.record import Asker, Container, Phase, take_all
from shims.container.setup.plan import Planner, RefusedError, check_host, check_spec

_LISTED_AT_ONCE: Final = 200
_LISTED_MESSAGE: Final = 500
"""Characters; with `_LISTED_AT_ONCE` it keeps a packet below the limit of the protocol."""


class Lifecycle:
    """Carries out the calls of clients, and what the builder finds out."""

    def __init__(
        self,
        holdings: Holdings,
        planner: Callable[[], Planner],
        cloner: Callable[[Callable[[Container, int, int], None]], ClonerLink],
    ) -> None:
        self._holdings = holdings
        self._loop = holdings.loop
        self._watches: dict[Container, FreezeWatch] = {}
        self._builder = Builder(self._loop, self, holdings.journal.write, holdings.cgroups_of, planner, cloner)
        self.ending = Ending(holdings, self._builder)

    @property
    def queued(self) -> int:
        """How many containers wait to be built."""
        return self._builder.queued

    # --- calls

    def create(self, asker: Asker, spec: ContainerSpec) -> None:
        """Build a container; `Created` once it waits frozen."""
        known = self._holdings.containers.get(spec.guest_id)
        try:
            if known is not None and known.phase.is_living:
                raise RefusedError(f"container {spec.guest_id} exists already")
            check_spec(spec)
            check_host(spec)
        except RefusedError as error:
            asker.refuse(str(error))
            return
        container = Container(guest_id=spec.guest_id, tag=spec.tag, phase=Phase.QUEUED, spec=spec, creator=asker)
        self._holdings.containers[spec.guest_id] = container
        self._builder.add(container)

    def start(self, asker: Asker, container: Container) -> None:
        """Let a waiting container go, thaw a frozen one."""
        match container.phase:
            case Phase.QUEUED | Phase.CLONING | Phase.BUILDING | Phase.SETTLING:
                asker.refuse(f"container {container.name} is still being built")
            case Phase.WAITING:
                self._open_gate(asker, container)
            case Phase.STARTING:
                container.starters.append(asker)
            case Phase.RUNNING:
                asker.done()
            case Phase.PAUSING | Phase.FROZEN:
                self._thaw(asker, container)
            case Phase.ENDING | Phase.EXITED:
                asker.refuse(container.over())

    def freeze(self, asker: Asker, container: Container) -> None:
        """Pause; `Done` once the kernel says so."""
        match container.phase:
            case Phase.QUEUED | Phase.CLONING | Phase.BUILDING | Phase.SETTLING:
                asker.refuse(f"container {container.name} is still being built")
            case Phase.WAITING | Phase.FROZEN:
                asker.done()
            case Phase.STARTING | Phase.PAUSING:  # once its init runs; once it has frozen
                container.freezers.append(asker)
            case Phase.RUNNING:
                container.freezers.append(asker)
                if not container.kill_asked:  # it could not die frozen
                    self._pause(container)
            case Phase.ENDING | Phase.EXITED:
                asker.refuse(container.over())

    def kill(self, asker: Asker, container: Container) -> None:
        """End a container in whatever phase; `Done` when nothing of it is left."""
        if container.phase is Phase.EXITED:
            asker.done()
            return
        container.killers.append(asker)
        if container.phase is Phase.QUEUED:
            self._builder.cancel(container)
            container.failure = f"container {container.name} was killed before it was built"
            self.failed(container)
        elif container.is_new:
            self._builder.abandon(container, f"container {container.name} was killed while it was being built")
        elif container.phase is not Phase.ENDING:
            self.ending.kill(container)

    def forget(self, asker: Asker, guest_id: int) -> None:
        """Drop the record of an ended container; one that is not known is as good as forgotten."""
        container = self._holdings.containers.get(guest_id)
        if container is not None and container.phase is Phase.ENDING:
            container.forgetters.append(asker)
            return
        if container is not None and container.phase.is_living:
            asker.refuse(f"container {guest_id} has not ended")
            return
        if container is not None:
            self._holdings.drop(container)
        asker.done()

    def open_console(self, asker: Asker, container: Container) -> None:
        """Hand out one more copy of the pty master."""
        if container.console < 0:
            asker.refuse(f"container {container.name} has no console here: it has ended or outlived an earlier warden")
            return
        asker.answer(ConsoleOpened(call=asker.call, guest_id=container.guest_id), container.console)

    def keep_console(self, asker: Asker, container: Container, master: int) -> None:
        """Take a pty master that an earlier warden had."""
        if container.is_child or container.console >= 0 or container.phase in (Phase.ENDING, Phase.EXITED):
            close_descriptor(master)
        elif master < 0:
            asker.refuse(f"no terminal came for container {container.name}: the warden is out of descriptors")
            return
        else:
            container.console = master
        asker.done()

    def list(self, asker: Asker) -> None:
        """Tell of all containers, in as many packets as it takes."""
        statuses = [_shortened(container.status()) for container in self._holdings.containers.values()]
        for first in range(0, max(1, len(statuses)), _LISTED_AT_ONCE):
            part = tuple(statuses[first : first + _LISTED_AT_ONCE])
            more = first + _LISTED_AT_ONCE < len(statuses)
            asker.answer(Containers(call=asker.call, containers=part, more=more))

    # --- what the builder tells

    def built(self, container: Container) -> None:
        """See `builder.Owner`."""
        container.was_built = True
        self._holdings.note(Built(guest_id=container.guest_id))
        if container.creator is not None:
            container.creator.answer(
                Created(
                    call=container.creator.call,
                    guest_id=container.guest_id,
                    pid=container.pid,
                    start_ticks=container.start_ticks,
                    warnings=container.warnings,
                ),
                container.console,
            )

    def failed(self, container: Container) -> None:
        """See `builder.Owner`."""
        self.ending.end_unbuilt(container)

    def executed(self, container: Container) -> None:
        """See `builder.Owner`."""
        if container.failure:  # the process is about to exit, and everybody learns it then
            return
        container.has_run = True
        container.phase = Phase.RUNNING
        self._holdings.note(Ran(guest_id=container.guest_id))
        for asker in take_all(container.starters):
            asker.done()
        if container.freezers and not container.kill_asked:
            self._pause(container)

    def end_process(self, container: Container) -> None:
        """See `builder.Owner`."""
        self.ending.end_process(container)

    def exited(self, container: Container) -> None:
        """See `builder.Owner`; also for containers of an earlier warden."""
        self.ending.exited(container)
        if container.pidfd < 0 and (watch := self._watches.pop(container, None)) is not None:
            watch.cancel()

    # --- moving on

    def _open_gate(self, asker: Asker, container: Container) -> None:
        try:
            self._holdings.journal.write(Started(guest_id=container.guest_id))
            container.was_started = True
            self._holdings.cgroups_of(container.tag).thaw(container.name)
        except OSError as error:
            asker.refuse(f"unable to thaw container: {error.filename or 'journal'}: {error.strerror}")
            return
        container.starters.append(asker)
        container.phase = Phase.STARTING
        with contextlib.suppress(OSError):  # it died meanwhile, which its pidfd will say
            os.write(container.gate, b"g")

    def _thaw(self, asker: Asker, container: Container) -> None:
        watch = self._watches.pop(container, None)
        if watch is not None:
            watch.cancel()
        try:
            self._holdings.cgroups_of(container.tag).thaw(container.name)
        except OSError as error:
            asker.refuse(f"unable to thaw container: {error.filename}: {error.strerror}")
            return
        container.phase = Phase.RUNNING
        for freezer in take_all(container.freezers):
            freezer.refuse(f"container {container.name} was started again before it had stopped")
        asker.done()

    def _pause(self, container: Container) -> None:
        container.phase = Phase.PAUSING
        try:
            watch = FreezeWatch(
                self._loop,
                self._holdings.cgroups_of(container.tag),
                container.name,
                lambda problem: self._paused(container, problem),
            )
        except OSError as error:
            self._paused(container, f"freezer: {error.filename}: {error.strerror}")
            return
        self._watches[container] = watch
        watch.look()

    def _paused(self, container: Container, problem: str) -> None:
        self._watches.pop(container, None)
        if container.phase is not Phase.PAUSING:
            return
        container.phase = Phase.RUNNING if problem else Phase.FROZEN
        if problem:
            with contextlib.suppress(OSError):
                self._holdings.cgroups_of(container.tag).thaw(container.name)
        for asker in take_all(container.freezers):
            if problem:
                asker.refuse(problem)
            else:
                asker.done()


def _shortened(status: ContainerStatus) -> ContainerStatus:
    return msgspec.structs.replace(status, message=status.message[:_LISTED_MESSAGE])
