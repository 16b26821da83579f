"""Command lines that come over the bus, each carried out once however often it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

import msgspec

from bus import codec
from bus.actor.turns import key_of
from bus.errors import ConflictError, InvalidError, OverloadedError
from bus.messages.base import Message
from bus.messages.cli import LineGroup, LineOutput, LineResponse, LineStyle, RunLine
from cli.answers.render import encode_json
from cli.answers.response import Group, Response
from cli.commands.host.stop import ConnectionEnds
from cli.server.engine import Engine, request_ids
from cli.session.session import Session

MAX_LINE = 1_048_576
"""Characters of a line."""
MAX_OUTPUT = 32 * 1024 * 1024
"""Bytes of what one line answers."""
MAX_RUNNING = 1_000
"""Lines under way, before further ones are refused."""
MAX_RUNNING_OF_KEY = 250
"""Of one key."""
MAX_REMEMBERED = 10_000
MAX_REMEMBERED_BYTES = 8 * 1024 * 1024
"""Little, because a line whose answer was forgotten is run again with the same ids, and so done once all the same."""
REMEMBERED_S = 600.0

R = TypeVar("R", bound=Message)
Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class LineIds:
    """Ids for what a line asks, the same ones when the line is run again.

    So a line that the command server did not survive can be run by its successor: what it had asked already is answered
    by its owner from memory, and not done twice.
    """

    def __init__(self, line_id: str) -> None:
        self._line_id = line_id
        self._asked: Counter[str] = Counter()

    def __call__(self, to: str, request: Message, namespace: str) -> str:
        """The id of this request: it names the line, the request, and which of several equal ones it is."""
        asked = b"\0".join((to.encode(), namespace.encode(), codec.encode(request)))
        digest = hashlib.blake2b(asked, digest_size=8).hexdigest()
        self._asked[digest] += 1
        return f"{self._line_id}/{digest}/{self._asked[digest]}"


@dataclass(slots=True)
class _Line:
    request: RunLine
    namespace: str
    output: asyncio.Future[LineOutput]


@dataclass(slots=True)
class _Ended:
    request: RunLine
    namespace: str
    output: bytes
    """Encoded: the rows of a long table take ten times as much as objects."""
    ended_s: float


class Lines:
    """See the module. What is remembered is so for a while, and bounded; what is under way is not forgotten."""

    def __init__(self, engine: Engine, spawn: Spawn) -> None:
        self._engine = engine
        self._spawn = spawn
        self._running: dict[str, _Line] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._remembered_bytes = 0

    async def run(self, request: RunLine, line_id: str, namespace: str) -> LineOutput:
        """Run a line, or wait for what it answers if that was begun already; raises BusError."""
        self._forget_old(asyncio.get_running_loop().time())
        known = self._running.get(line_id) or self._ended.get(line_id)
        if known is not None and (known.request, known.namespace) != (request, namespace):
            raise ConflictError("another command line was run under this id")
        if isinstance(known, _Ended):
            return cast(LineOutput, codec.decode_body(known.output))
        line = known or self._begin(request, line_id, namespace)
        return await asyncio.shield(line.output)

    def _begin(self, request: RunLine, line_id: str, namespace: str) -> _Line:
        if len(request.line) > MAX_LINE:
            raise InvalidError(f"a command line has at most {MAX_LINE} characters, not {len(request.line)}")
        if len(self._running) >= MAX_RUNNING:
            raise OverloadedError(f"{MAX_RUNNING} command lines are under way")
        if (key := key_of(line_id)) and sum(key_of(other) == key for other in self._running) >= MAX_RUNNING_OF_KEY:
            raise OverloadedError(f"{MAX_RUNNING_OF_KEY} command lines of the key {key} are under way")
        line = _Line(request, namespace, asyncio.get_running_loop().create_future())
        self._running[line_id] = line
        self._spawn(self._carry_out(line, line_id), "line")
        return line

    async def _carry_out(self, line: _Line, line_id: str) -> None:
        request_ids.set(LineIds(line_id))  # of this task alone
        try:
            output = await self._output(line)
        except Exception as error:
            line.output.set_exception(error)
            line.output.exception()  # marks it as seen: nobody may be waiting any more
            return
        except asyncio.CancelledError:
            line.output.cancel()
            raise
        finally:
            del self._running[line_id]
        line.output.set_result(output)
        ended = _Ended(line.request, line.namespace, codec.encode(output), asyncio.get_running_loop().time())
        self._ended[line_id] = ended
        self._remembered_bytes += len(ended.output)

    async def _output(self, line: _Line) -> LineOutput:
        session = Session(namespace=line.namespace, confined=line.request.confined)
        gathered: list[LineGroup] = []
        size_bytes, truncated = 0, False
        with contextlib.suppress(ConnectionEnds):
            async with contextlib.aclosing(self._engine.run_line(line.request.line, session)) as groups:
                async for group in groups:
                    told = group_of(group)
                    size_bytes += len(codec.encode(told))
                    truncated = truncated or size_bytes > MAX_OUTPUT
                    if not truncated:
                        gathered.append(told)
        return LineOutput(groups=tuple(gathered), truncated=truncated)

    def _forget_old(self, now_s: float) -> None:
        while self._ended:
            line_id, oldest = next(iter(self._ended.items()))
            is_full = len(self._ended) > MAX_REMEMBERED or self._remembered_bytes > MAX_REMEMBERED_BYTES
            if not is_full and oldest.ended_s + REMEMBERED_S > now_s:
                return
            del self._ended[line_id]
            self._remembered_bytes -= len(oldest.output)


def group_of(group: Group) -> LineGroup:
    """A group as it is told over the bus."""
    style = LineStyle(**asdict(group.output)) if group.output is not None else None
    return LineGroup(responses=tuple(map(_response_of, group.responses)), style=style)


def _response_of(response: Response) -> LineResponse:
    """Through JSON, because `data` may hold what JSON cannot tell from plain values, and names what is no Unicode."""
    fields = {
        "host": response.host,
        "text": response.text,
        "header": response.header,
        "rows": response.rows or (),
        "error": response.error,
        "data": response.data,
    }
    return msgspec.json.decode(encode_json(fields), type=LineResponse)
