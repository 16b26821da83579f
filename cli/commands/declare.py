"""How a command is declared: what is typed, what it means, what it asks of the bus, how the reply is shown.

Most commands are data: `request` makes the message, `answer` reads its reply. A command that acts on the client's
session or on other commands has `run` instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bus.messages.base import Message, Request
from cli.answers.response import Group, Row
from cli.grammar.matcher import Match
from cli.session.session import Session

R = TypeVar("R", bound=Message)

QUICK_S = 30.0
"""Timeout of commands that only look up or note something."""
LIFECYCLE_S = 600.0
"""Timeout of commands that change guests; thousands of them may take minutes."""


class Scope(Enum):
    """Which hosts of the active namespace run a command."""

    LOCAL = "L"
    """The host that was asked."""
    BROADCAST = "B"
    """All of them; every answer is shown."""
    TARGETED = "T"
    """All of them; `not found` counts only if every host says so."""
    SPECIAL = "S"
    """As the command says."""


class CommandError(ValueError):
    """The command cannot be carried out as typed; `str()` is one sentence for the user."""


class Args:
    """The values of a match, typed."""

    def __init__(self, values: Mapping[str, str | bool | tuple[str, ...]]) -> None:
        self._values = values

    def has(self, key: str) -> bool:
        """Whether an option was chosen or a value given."""
        return key in self._values

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self._values.get(key, default)
        return value if isinstance(value, str) else default

    def words(self, key: str) -> tuple[str, ...]:
        """A list; empty if it was not given."""
        value = self._values.get(key, ())
        return value if isinstance(value, tuple) else ()

    def chosen(self, *options: str) -> str:
        """Which of these options was typed; empty if none."""
        return next((option for option in options if option in self._values), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one host has to say; the server adds which host that is."""

    text: str = ""
    header: Row | None = None
    rows: Sequence[Row] | None = None
    error: str = ""
    data: Any = None


def silent(reply: Any, args: Args) -> Answer:
    """Done; nothing to show."""
    return Answer()


def report(reply: Any, args: Args) -> Answer:
    """A VmReport: only what went wrong is shown, and what guests go without."""
    return Answer(text="\n".join(f"warning: {warning}" for warning in reply.warnings), error="\n".join(reply.errors))


class Engine(Protocol):
    """What a command may ask of the server that runs it."""

    host: str
    files_dir: Path
    """The file area; relative paths of files that commands write are below it."""
    commands: Sequence[Command]

    def compile(self, text: str, session: Session) -> Match[Command] | None:
        """Parse a line with the session's aliases; None for blank lines and comments. Raises LanguageError."""
        ...

    def run(self, match: Match[Command], session: Session) -> AsyncIterator[Group]:
        """Run a parsed command."""
        ...

    def run_line(self, text: str, session: Session) -> AsyncIterator[Group]:
        """Parse, run and record a line; an error in it becomes a group."""
        ...

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...

    def later(self, delay_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something after a while, whatever becomes of the client."""
        ...

    def hosts(self, namespace: str) -> tuple[str, ...]:
        """The hosts that a namespace is made of."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a command."""

    args: Args
    match: Match[Command]
    session: Session
    engine: Engine

    @property
    def nested(self) -> Match[Command]:
        """The command inside; raises CommandError if there is none, which the pattern rules out."""
        if self.match.nested is None:
            raise CommandError("a command is missing")
        return self.match.nested


Run = Callable[[Call], AsyncIterator[Group]]


@dataclass(frozen=True, slots=True)
class Also:
    """A question to another actor of the same host, without whose reply there is an answer too."""

    to: str
    request: Callable[[Args], Request[Any]]
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Both:
    """Replies for one answer; `also` is None if nobody gave the second, a tuple of such where several were wanted."""

    reply: Any
    also: Any


@dataclass(frozen=True, eq=False, slots=True)
class Command:
    """One command, with all patterns that share its help text."""

    patterns: tuple[str, ...]
    help_short: str
    """One line without a full stop."""
    help_long: str = ""
    scope: Scope = Scope.LOCAL
    to: str = ""
    """Actor that is asked; empty if `run` does it."""
    namespace: Callable[[Args, str], str] | None = None
    """The namespace it acts in, made of its words and the session's; None if it is always the session's."""
    request: Callable[[Args], Request[Any]] | None = None
    """Raises CommandError if the words make no sense."""
    answer: Callable[[Any, Args], Answer] = silent
    also: Also | tuple[Also, ...] | None = None
    """What else is to be asked at the same time; `answer` then reads a `Both`."""
    timeout_s: float = QUICK_S
    run: Run | None = None
    recorded: bool = True
    """Whether it enters the history."""
    free_text: bool = False
    """Its arguments may be any text, so URLs in them are not downloaded."""
    once: bool = False
    """Whether it acts for all hosts of a namespace, so that `ns run` must not make each of them run it."""
    completers: Mapping[str, str] = field(default_factory=dict)
    """Key of a string item to what it names: what `cli.server.suggest` knows."""
