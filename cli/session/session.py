"""What belongs to one client's connection, and never to the server: namespace, output settings, history."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from bus.messages.base import DEFAULT_NAMESPACE
from cli.answers.response import Output

MAX_HISTORY_LINES = 10_000
MAX_HISTORY_CHARACTERS = 4_194_304


class History:
    """Command lines, newest last; the oldest are dropped when it is full."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._characters = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines, oldest first."""
        return tuple(self._lines)

    def add(self, line: str) -> None:
        """Append a line."""
        self._lines.append(line)
        self._characters += len(line)
        while len(self._lines) > MAX_HISTORY_LINES or self._characters > MAX_HISTORY_CHARACTERS:
            self._characters -= len(self._lines.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()
        self._characters = 0


@dataclass(slots=True)
class Session:
    """The state of one connection."""

    namespace: str = DEFAULT_NAMESPACE
    output: Output = field(default_factory=Output)
    history: History = field(default_factory=History)
    recording: bool = True
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """First word of a command to the words that replace it."""
    environment: dict[str, str] = field(default_factory=dict)
    """Laid over the server's environment; an empty value hides a variable. Programs run with it get it as it is."""
    preprocessing: bool = True
    """Whether `$NAME`, `file:` and `http:` in arguments are replaced."""
    reading: bool = False
    """A script is being read; scripts do not nest."""
    confined: tuple[str, ...] | None = None
    """The only namespaces that this client may act in, see `confinement`; None if there is no such limit."""
    outer: list[str] = field(default_factory=list)
    """Namespaces that will be active again, the next one last."""

    @contextlib.contextmanager
    def within(self, namespace: str) -> Iterator[None]:
        """Act in another namespace for a while; what was active before is active again afterwards."""
        self.outer.append(self.namespace)
        self.namespace = namespace
        try:
            yield
        finally:
            self.namespace = self.outer.pop()

    def forget(self, namespace: str) -> None:
        """A namespace has been destroyed: wherever it was active, the default one is."""
        self.outer[:] = [DEFAULT_NAMESPACE if name == namespace else name for name in self.outer]
        if self.namespace == namespace:
            self.namespace = DEFAULT_NAMESPACE
