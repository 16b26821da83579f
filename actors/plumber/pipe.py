"""One pipe in use: its messages' flow, its writers, and the program that works on them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

import msgspec

from actors.plumber.flow import MAX_HELD_BYTES, Flow
from actors.plumber.readers import Effect
from actors.plumber.table import DEFAULT, PipeSettings
from actors.plumber.writers import Writers
from bus.messages.pipe import PipeInfo
from bus.pipe_messages import Content

SHOWN_BYTES = 256
"""Of the last message in a list of pipes."""


class Written(NamedTuple):
    """Messages on their way, and whom to tell when they are done."""

    content: Content
    ticket: int = 0


class Pipe:
    """See the module."""

    def __init__(self, namespace: str, name: str, settings: PipeSettings, writers: Writers | None = None) -> None:
        self.namespace = namespace
        self.name = name
        self.settings = settings
        self.flow = Flow(mode=settings.mode, overflow=settings.overflow)
        self.writers = writers or Writers()
        self.feeders = 0
        """Pipelines that write into it."""
        self.dropped = 0
        """Messages that publishers wrote while there was no room, or that its via made nothing of."""
        self.before_via: deque[Written] = deque()
        """Writes that its program has not worked on yet."""
        self.before_via_bytes = 0
        self.emptied: asyncio.Event | None = None
        """For who waits until nothing is on its way any more."""
        self.via_runs = False
        self.via_task: asyncio.Task[None] | None = None
        """Its program at work."""
        self.via_failures = 0
        """Since that was last logged."""
        self.via_failure = ""
        """Why, the last time."""

    def configure(self, settings: PipeSettings) -> list[Effect]:
        """Its properties from now on; returns what is to be done about it."""
        self.settings = settings
        return self.flow.configure(settings.mode, settings.overflow)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may wait; if nothing does, any number."""
        waiting = self.flow.held_bytes + self.writers.early_bytes + self.before_via_bytes
        return not waiting or waiting + size <= MAX_HELD_BYTES

    @property
    def is_forgettable(self) -> bool:
        """Whether nobody would miss more of it than how many messages there were."""
        used = self.flow.readers or self.writers.known or self.feeders or self.via_runs or self.busy
        return self.settings == DEFAULT and not used

    @property
    def busy(self) -> bool:
        """Whether something is on its way to the readers' queues."""
        return self.flow.holding or bool(self.before_via)

    async def until_taken(self) -> None:
        """Wait until nothing is on its way, or the pipe is deleted."""
        while self.busy:
            self.emptied = self.emptied or asyncio.Event()
            await self.emptied.wait()

    def tell_if_taken(self) -> None:
        """Wake those who wait for that."""
        if self.emptied is not None and not self.busy:
            self.emptied.set()
            self.emptied = None

    def __str__(self) -> str:
        return f"{self.namespace}//{self.name}"

    def info(self, subscribers: int = 0) -> PipeInfo:
        """As `pipe` shows it."""
        return PipeInfo(
            name=self.name,
            **msgspec.structs.asdict(self.settings),
            readers=len(self.flow.readers),
            subscribers=subscribers,
            writers=len(self.writers.known) + self.feeders,
            count=self.flow.seq,
            dropped=self.dropped + self.flow.dropped,
            cut_off=self.flow.cut_off,
            waiting=self.busy,
            last=self.flow.last[:SHOWN_BYTES],
        )
