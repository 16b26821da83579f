"""Runs commands: parse, ask every host in scope, gather. Knows no socket and no actor, only something to ask."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bus.actor.inputs import Inputs
from bus.actor.turns import key_of
from bus.errors import BusError
from bus.messages.base import DEFAULT_NAMESPACE, Message, Request
from bus.messages.cc import Listen, PostCommand, SetFilter, SetPrefix
from bus.messages.namespace import OpenNamespace
from bus.messages.pipe import SetPipe, WritePipe
from bus.messages.pipeline import StartPipeline
from bus.retry import Retry
from cli.answers.response import Group, Response, failure, without_misses
from cli.commands.declare import Also, Answer, Args, Both, Call, Command, CommandError, Scope
from cli.commands.host.stop import ConnectionEnds
from cli.commands.session.output import RECORD
from cli.grammar.errors import LanguageError
from cli.grammar.lexer import lex
from cli.grammar.matcher import Grammar, Match
from cli.grammar.quoting import quote
from cli.server.confinement import check, may_ask
from cli.server.preprocess import Values, preprocess
from cli.server.suggest import suggest
from cli.session.session import Session
from cli.session.substitution import PreprocessError

R = TypeVar("R", bound=Message)

ABSENT_S = 5.0
"""How long an actor may be unreachable or overloaded before the user is told: it may be restarting."""
PAUSE_S = (0.05, 0.5)
BEGINNINGS = (SetPipe, WritePipe, StartPipeline, PostCommand, SetFilter, SetPrefix, Listen)
"""What begins something in its namespace, at an actor that does not ask which namespaces there are."""
FAILED = "error"
"""Outcome of a command that some host answered with one."""


RequestIds = Callable[[str, Message, str], str]
"""To whom, what, in which namespace: the id to ask with."""


def _random_id(to: str, request: Message, namespace: str) -> str:
    return secrets.token_hex(8)


request_ids: contextvars.ContextVar[RequestIds] = contextvars.ContextVar("request_ids", default=_random_id)
"""Where the ids come from that are asked with on behalf of the command line that is being run."""


class Bus(Protocol):
    """What the engine needs of the bus: `bus.port.Port`, or a fake."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str, msg_id: str = "") -> R:
        """Send a request; raises BusError."""
        ...


class Engine:
    """See the module. One engine serves all connections; what differs between them is in their sessions."""

    def __init__(
        self,
        bus: Bus,
        host: str,
        commands: Sequence[Command],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        on_bug: Callable[[Exception], None],
        files_dir: Path,
        inputs: Inputs | None = None,
    ) -> None:
        self.host = host
        self.files_dir = files_dir
        self.commands = commands
        self.grammar: Grammar[Command] = Grammar(
            (pattern, command) for command in commands for pattern in command.patterns
        )
        self.bus = bus
        self.inputs = inputs or Inputs()
        """Where commands are noted, so that it can be followed what they led to."""
        self._spawn = spawn
        self._on_bug = on_bug
        self._rounds = asyncio.Lock()

    def compile(self, text: str, session: Session) -> Match[Command] | None:
        """Parse a line with the session's aliases; None for blank lines and comments. Raises LanguageError."""
        line = lex(text)
        return self.grammar.parse(line.words, text, session.aliases) if line.words else None

    async def run_line(self, text: str, session: Session) -> AsyncGenerator[Group, None]:
        """Parse, run and record a line; an error in it becomes a group. Raises ConnectionEnds."""
        try:
            match = self.compile(text, session)
        except LanguageError as error:
            yield failure(self.host, str(error))
            return
        if match is None:
            if text.strip() and session.recording:
                session.history.add(text.strip())
            return
        with self.inputs.command(fixed_words(match), secrets.token_hex(8), session.namespace) as entry:
            try:
                async with contextlib.aclosing(self.run(match, session)) as groups:
                    async for group in groups:
                        if any(response.error for response in group.responses):
                            entry.outcome = FAILED
                        yield group
            except PreprocessError as error:
                entry.outcome = FAILED
                yield failure(self.host, str(error))
                return
        if _is_recorded(match, session):
            session.history.add(_as_recorded(text, match, session))

    async def run(self, match: Match[Command], session: Session) -> AsyncGenerator[Group, None]:
        """Run a parsed command; an error of it becomes a group. Raises PreprocessError or ConnectionEnds."""
        try:
            check(match.owner, Args(match.values), session)
            args = Args(await self._preprocessed(match, session))
            if match.owner.run is None:
                yield await self._ask_hosts(match.owner, args, session)
                return
            call = Call(args=args, match=match, session=session, engine=self)
            async for group in match.owner.run(call):
                yield group
        except (BusError, CommandError) as error:
            yield failure(self.host, str(error))
        except (ConnectionEnds, PreprocessError):
            raise
        except Exception as error:
            self._on_bug(error)
            yield failure(self.host, f"internal error in the command server: {type(error).__name__}; see its log")

    async def suggest(self, text: str, session: Session) -> list[str]:
        """Complete replacement lines for a line that is being typed."""
        return await suggest(self, self.grammar, text, session)

    async def _preprocessed(self, match: Match[Command], session: Session) -> Values:
        if not session.preprocessing or session.confined is not None:  # variables and files are the host's
            return match.values
        return await preprocess(match.values, session, self, free_text=match.owner.free_text)

    def hosts(self, namespace: str) -> tuple[str, ...]:
        """The hosts that a namespace is made of: this one, as long as nodes are not linked."""
        return (self.host,)

    def later(self, delay_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something after a while, whatever becomes of the client."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            await work()

        self._spawn(wait(), "later")

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Ask, and again with the same id while the receiver is away or was lost on the way. Raises BusError."""
        if isinstance(request, BEGINNINGS) and namespace != DEFAULT_NAMESPACE:
            # What somebody else has destroyed meanwhile is listed again, so that this ends with it.
            await self.ask("namespace", OpenNamespace(), timeout_s=timeout_s, namespace=namespace)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        msg_id = request_ids.get()(to, request, namespace)
        retry = Retry(deadline_s, absent_s=ABSENT_S, pause_s=PAUSE_S, overload_is_absence=True)
        while True:
            left_s = max(deadline_s - loop.time(), 0.001)
            try:
                reply = await self.bus.ask(to, request, timeout_s=left_s, namespace=namespace, msg_id=msg_id)
            except BusError as error:
                pause_s = retry.failed(error, loop.time())
            else:
                if key_of(msg_id):
                    await self._next_round()
                return reply
            await asyncio.sleep(pause_s)

    async def _next_round(self) -> None:
        """Of answers that came together one is worked on in each round of the loop: a long one takes its time."""
        async with self._rounds:
            await asyncio.sleep(0)

    async def _ask_hosts(self, command: Command, args: Args, session: Session) -> Group:
        if command.request is None:
            raise CommandError("this command does nothing")
        namespace = session.namespace if command.namespace is None else command.namespace(args, session.namespace)
        request = command.request(args)
        hosts = (self.host,) if command.scope is Scope.LOCAL else self.hosts(namespace)
        asks = [self._ask_host(command, args, request, host, namespace, session) for host in hosts]
        responses = list(await asyncio.gather(*asks))
        return Group(without_misses(responses) if command.scope is Scope.TARGETED else responses)

    async def _ask_host(
        self, command: Command, args: Args, request: Request[Any], host: str, namespace: str, session: Session
    ) -> Response:
        try:
            ask = self.ask(f"{command.to}@{host}", request, timeout_s=command.timeout_s, namespace=namespace)
            if command.also is None:
                reply = await ask
            else:
                reply = Both(*await asyncio.gather(ask, self._ask_also(command.also, args, host, namespace, session)))
            return _response(host, command.answer(reply, args))
        except BusError as error:
            return Response(host, error=str(error))

    async def _ask_also(
        self, also: Also | tuple[Also, ...], args: Args, host: str, namespace: str, session: Session
    ) -> Any:
        if isinstance(also, tuple):
            return tuple(await asyncio.gather(*(self._ask_also(one, args, host, namespace, session) for one in also)))
        request: Request[Message] = also.request(args)
        if not may_ask(request, session):
            return None
        try:
            return await self.bus.ask(f"{also.to}@{host}", request, timeout_s=also.timeout_s, namespace=namespace)
        except BusError:
            return None


def _response(host: str, answer: Answer) -> Response:
    return Response(host, answer.text, answer.header, answer.rows, answer.error, answer.data)


def fixed_words(match: Match[Command]) -> str:
    """The words of a command that are its own: what else was typed may be secret."""
    words = [
        word
        for item in match.pattern.items
        for word in (item.words if item.is_literal else [word for word in item.words if word in match.values])
    ]
    return " ".join(words if match.nested is None else [*words, f"({fixed_words(match.nested)})"])


def _as_recorded(text: str, match: Match[Command], session: Session) -> str:
    """The line as typed, with its aliases replaced and on one line, so that a script can be made of the history."""
    if "\n" not in text and (not session.aliases or lex(text).words == match.words):
        return text.strip()
    return " ".join(map(quote, match.words))


def _is_recorded(match: Match[Command], session: Session) -> bool:
    """The outermost `.record` prefix decides; without one, the session does."""
    chosen: bool | None = None
    for part in match.chain():
        if not part.owner.recorded:
            return False
        if part.owner is RECORD and part.nested is not None and chosen is None:
            chosen = "true" in part.values
    return session.recording if chosen is None else chosen
