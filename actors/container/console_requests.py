"""What the bus asks of consoles (`bus.messages.console`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from actors.container.console import Console
from actors.container.console_table import Consoles, past
from actors.container.state import Guest, GuestState
from bus.actor.base import RequestContext
from bus.actor.turns import key_of
from bus.errors import InvalidError, NotFoundError, OverloadedError, UnavailableError
from bus.messages.base import Ack
from bus.messages.console import (
    FROM_NOW,
    FROM_SCROLL_BACK,
    MAX_INPUT_BYTES,
    ConsoleInput,
    ConsoleOutput,
    ReadConsole,
    ResizeConsole,
    TypeAtConsole,
)
from shims.files.scroll_back import ScrollBack

LOOK_S = 0.05
APPEAR_S = 5.0
"""How long a living container's console may be on its way, after a restart of node or warden."""
MAX_WAIT_S = 60.0
MAX_VIEWERS = 1_000
"""Who wait for output at a time."""
MAX_VIEWERS_OF_KEY = 100
"""Of one key, so that all others can watch as well."""
MAX_SIZE = 65_535
MAX_POSITION = 1 << 62
LOST = "the console is lost: nobody held its other end when node, warden and container actor were away together"


class ConsoleRequests:
    """Answers for the consoles of a container actor."""

    def __init__(self, consoles: Consoles, guests: Callable[[], Mapping[int, Guest]]) -> None:
        self._consoles = consoles
        self._guests = guests
        self._is_ending = False
        self.lost: set[int] = set()
        """Living containers whose console nobody has."""
        self.waiting = 0
        """Questions for output that wait until there is some."""
        self._waiting_of: Counter[str] = Counter()
        """Likewise, by key."""

    def end(self) -> None:
        """Answer those who wait, and let nobody wait any more."""
        self._is_ending = True
        self._consoles.dismiss()

    def check(self, vm_id: int, request: RequestContext) -> None:
        """Raise NotFoundError unless there is such a container in the namespace that the request acts in."""
        namespace = self._guest(vm_id).namespace
        if namespace != request.namespace and (namespace or key_of(request.msg_id)):
            raise NotFoundError(f"there is no container {vm_id} in namespace {request.namespace}")

    async def read(self, asked: ReadConsole, key: str = "") -> ConsoleOutput:
        """See `ReadConsole`; of a remote client with its `key`. Raises BusError."""
        console = await self._find(asked.vm_id)
        if console is None:
            return _output(past(self._guest(asked.vm_id).spec.instance_dir), asked, ended=True)
        scroll_back = console.scroll_back
        if asked.stream == scroll_back.stream and not self._is_ending:
            if self.waiting >= MAX_VIEWERS:
                raise OverloadedError(f"{MAX_VIEWERS} viewers wait for output already")
            if key and self._waiting_of[key] >= MAX_VIEWERS_OF_KEY:
                raise OverloadedError(f"{MAX_VIEWERS_OF_KEY} viewers of the key {key} wait for output already")
            with self._counted(key):
                await console.until_more(asked.after, min(asked.wait_s, MAX_WAIT_S))
        return _output(scroll_back, asked, ended=console.ended)

    @contextlib.contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        self.waiting += 1
        self._waiting_of[key] += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self._waiting_of[key] -= 1
            if not self._waiting_of[key]:
                del self._waiting_of[key]

    async def type(self, asked: TypeAtConsole) -> ConsoleInput:
        """See `TypeAtConsole`; raises BusError."""
        if len(asked.data) > MAX_INPUT_BYTES:
            raise InvalidError(f"at most {MAX_INPUT_BYTES} bytes can be typed at once")
        if not 0 <= asked.position < MAX_POSITION:
            raise InvalidError(f"the position {asked.position} is none")
        console = await self._living(asked.vm_id)
        typed = console.scroll_back.typed(asked.viewer)
        if typed is None and asked.repeated:
            return ConsoleInput(taken=asked.position + len(asked.data), in_doubt=True)
        position = max(typed or 0, asked.position)
        return ConsoleInput(taken=console.type_for(asked.viewer, position, asked.data[position - asked.position :]))

    async def resize(self, asked: ResizeConsole) -> Ack:
        """See `ResizeConsole`; raises BusError."""
        if not (1 <= asked.rows <= MAX_SIZE and 1 <= asked.columns <= MAX_SIZE):
            raise InvalidError(f"a window has 1 to {MAX_SIZE} rows and columns")
        console = await self._living(asked.vm_id)
        try:
            console.resize(asked.rows, asked.columns)
        except OSError as error:
            raise UnavailableError(f"cannot set the size of the console: {error.strerror}") from None
        return Ack()

    async def _living(self, vm_id: int) -> Console:
        console = await self._find(vm_id)
        if console is None:
            raise NotFoundError("the container has ended")
        return console

    async def _find(self, vm_id: int) -> Console | None:
        """The console of a living container, None if it has ended; raises BusError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + APPEAR_S
        while True:
            if (console := self._consoles.get(vm_id)) is not None:
                return console
            if self._guest(vm_id).state is GuestState.EXITED:
                return None
            if vm_id in self.lost:
                raise UnavailableError(LOST)
            if loop.time() >= deadline or self._is_ending:
                raise UnavailableError("the console cannot be reached now")
            await asyncio.sleep(LOOK_S)

    def _guest(self, vm_id: int) -> Guest:
        guest = self._guests().get(vm_id)
        if guest is None:
            raise NotFoundError(f"there is no container {vm_id}")
        return guest


def _output(scroll_back: ScrollBack, asked: ReadConsole, *, ended: bool) -> ConsoleOutput:
    if asked.after == FROM_NOW:
        return ConsoleOutput(stream=scroll_back.stream, offset=scroll_back.end, ended=ended)
    after = asked.after if asked.stream == scroll_back.stream else FROM_SCROLL_BACK
    offset, data = scroll_back.read(after)
    return ConsoleOutput(stream=scroll_back.stream, offset=offset, data=data, ended=ended)
