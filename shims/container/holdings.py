"""What the warden owns, and the few things done to all of it: the list, the journal, the cgroups, the notices."""

from __future__ import annotations

from collections.abc import Callable

from bus.logs.logs import Log
from shims.cgroups.cgroup import Cgroups, host_layout
from shims.container.journal import AnyRecord, Dropped, Journal
from shims.container.loop import Loop
from shims.container.protocol import AnyAnswer
from shims.container.record import Container


class Holdings:
    """All containers of a warden."""

    def __init__(self, loop: Loop, journal: Journal, log: Log) -> None:
        self.loop = loop
        self.log = log
        self.containers: dict[int, Container] = {}
        self.announce: Callable[[AnyAnswer], None] = lambda answer: None
        """Tells every client."""
        self.journal = journal
        self._cgroups: dict[str, Cgroups] = {}

    @property
    def living(self) -> int:
        """How many containers have or will have something on this host."""
        return sum(container.phase.is_living for container in self.containers.values())

    @property
    def has_living(self) -> bool:
        """Whether there is any."""
        return any(container.phase.is_living for container in self.containers.values())

    def cgroups_of(self, tag: str) -> Cgroups:
        """The cgroups of a base directory's tag."""
        if tag not in self._cgroups:
            self._cgroups[tag] = Cgroups(host_layout(), tag)
        return self._cgroups[tag]

    def note(self, record: AnyRecord) -> None:
        """Write a record that must not keep anything from happening."""
        try:
            self.journal.write(record)
        except OSError as error:
            self.log.error("journal_not_written", record=type(record).__name__, reason=error.strerror)
        if self.journal.is_large:
            self.journal.compact(container.past() for container in self.containers.values())

    def drop(self, container: Container) -> None:
        """Forget a container of which nothing is left."""
        self.containers.pop(container.guest_id, None)
        self.note(Dropped(guest_id=container.guest_id))

    def tidy(self) -> None:
        """Remove the base directories of the cgroups once no container is left."""
        if not self.has_living:
            for cgroups in self._cgroups.values():
                cgroups.remove_base()
