"""`minibus ask`: one request to one actor, and its reply; or what there is to ask."""

from __future__ import annotations

import difflib
import json
import secrets
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from bus import codec
from bus.address import parse_address
from bus.broker import node_calls
from bus.errors import BusError, InvalidError, OutcomeUnknownError, to_failure
from bus.message_fields import fields_of, meaning
from bus.messages.base import Query, Request, reply_type
from bus.messages.control import GetStatus, Ping
from bus.messages.debug import GetUnderstood, Inspection
from bus.port import Port
from cli.answers.printable import printable
from cli.looking.processes import actors, ask_all, known, run
from cli.place import Place, connected, namespace_of

EXIT_FAILED = 1
EXIT_UNKNOWN = 3
"""It may or may not have been done."""
TIMEOUT_S = 30.0
MAX_INPUT = 16 * 1024 * 1024
"""Bytes of JSON."""
SHOWN = 80
"""Characters of what was typed that an error repeats."""
RequestClass = type[Request[Any]]


class Asked(NamedTuple):
    """What was typed."""

    actor: str
    type: str
    fields: str
    """JSON, or `-` for stdin."""
    namespace: str = ""
    msg_id: str = ""
    timeout_s: float = TIMEOUT_S


def ask(place: Place, asked: Asked, *, as_json: bool) -> int:
    """Send the request and print the reply; returns the exit status."""
    return run(place, _ask(place, asked, as_json))


async def _ask(place: Place, asked: Asked, as_json: bool) -> int:
    parse_address(asked.actor)
    request = parse_request(asked.type, _read(asked.fields))
    msg_id = asked.msg_id or secrets.token_hex(8)
    async with connected(place) as port:
        namespace = await namespace_of(place, port, asked.namespace)
        try:
            reply = await port.ask(asked.actor, request, timeout_s=asked.timeout_s, namespace=namespace, msg_id=msg_id)
        except BusError as error:
            return _failed(error, request, msg_id, as_json)
    print(_text(reply, as_json))
    return 0


def _failed(error: BusError, request: Request[Any], msg_id: str, as_json: bool) -> int:
    unknown = isinstance(error, OutcomeUnknownError)
    if as_json:
        print(_text(to_failure(error, ""), as_json))
    else:
        origin = f", from {error.origin}" if error.origin else ""
        again = f"; `--id {msg_id}` asks again without doing it twice" if unknown and not _is_query(request) else ""
        sys.stderr.write(printable(f"minibus: {error} ({error.code}{origin}){again}\n"))
    return EXIT_UNKNOWN if unknown else EXIT_FAILED


def _is_query(request: Request[Any] | RequestClass) -> bool:
    return issubclass(request if isinstance(request, type) else type(request), Query)


def _text(message: msgspec.Struct, as_json: bool) -> str:
    encoded = msgspec.json.encode(message)
    if as_json or not sys.stdout.isatty():
        return encoded.decode()
    return printable(msgspec.json.format(encoded, indent=2).decode())


def _read(fields: str) -> str:
    """The JSON that was given; raises InvalidError if stdin has too much of it, or no text."""
    if fields != "-":
        return fields
    try:
        text = sys.stdin.read(MAX_INPUT + 1) if sys.stdin is not None else ""
    except UnicodeDecodeError as error:
        raise InvalidError(f"stdin is not text: {error.reason} at byte {error.start}") from error
    if len(text) > MAX_INPUT:
        raise InvalidError(f"stdin has more than {MAX_INPUT} characters")
    return text


# --- from words to a request


def requests() -> dict[str, RequestClass]:
    """Every request there is, by type."""
    return {tag: klass for tag, klass in codec.registry().items() if issubclass(klass, Request)}


def parse_request(type_: str, fields: str) -> Request[Any]:
    """The request of this type with the fields of a JSON object; raises InvalidError with one sentence."""
    klass = requests().get(type_)
    if klass is None:
        close = difflib.get_close_matches(type_, requests(), n=3, cutoff=0.5)
        perhaps = f"; did you mean {' or '.join(close)}?" if close else ":"
        raise InvalidError(f"there is no request `{type_[:SHOWN]}`{perhaps} `minibus ask --list` shows all")
    try:
        given = json.loads(fields.strip() or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{type_}: not JSON: {str(error)[:SHOWN]}") from error
    if not isinstance(given, dict):
        raise InvalidError(f'{type_}: the fields must be a JSON object such as {{"name": "web"}}')
    if given.pop("type", type_) != type_:
        raise InvalidError(f"{type_}: the field `type` names another request")
    if extra := sorted(set(given) - {name for name, _ in fields_of(klass)}):
        raise InvalidError(f"{type_} has no field `{extra[0][:SHOWN]}`: {_fields_text(klass)}")
    try:
        request: Request[Any] = msgspec.json.decode(json.dumps(given, ensure_ascii=False).encode(), type=klass)
    except UnicodeEncodeError:
        raise InvalidError(f"{type_}: half a character (a surrogate without the other) cannot be sent") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidError(f"{type_}: {_complaint(error)}") from error
    return request


def _no_number(name: str) -> None:
    """Python reads NaN and Infinity; RFC 8259 has neither."""
    raise ValueError(f"{name} is no number")


def _complaint(error: Exception) -> str:
    what, _, where = str(error).partition(" - at ")
    place = where.strip("`").removeprefix("$").lstrip(".")
    return f"{what[:1].lower()}{what[1:]}{f' at `{place}`' if place else ''}"


def _fields_text(klass: RequestClass) -> str:
    fields = [f"`{name}` ({kind})" for name, kind in fields_of(klass)]
    return f"it has {', '.join(fields)}" if fields else "it has none"


# --- what there is to ask


class Known(NamedTuple):
    """What an actor understands."""

    actor: str
    types: Sequence[str]


def list_requests(place: Place, actor: str, *, as_json: bool) -> int:
    """Print what one actor, or everybody, can be asked; returns the exit status."""
    return run(place, _list(place, actor, as_json))


async def _list(place: Place, actor: str, as_json: bool) -> int:
    async with connected(place) as port:
        found = await _understood(port, actor)
    print(msgspec.json.encode(_as_objects(found)).decode() if as_json else listing(found))
    return 0


async def _understood(port: Port, actor: str) -> list[Known]:
    names = ["node", *await actors(port)]
    if actor:
        names = [actor if _is_node(actor) else await known(port, actor)]
    answers = await ask_all(port, [name for name in names if not _is_node(name)], GetUnderstood())
    types = {name: answer.types for name, answer in answers}
    if node := next(filter(_is_node, names), ""):
        types[node] = tuple(sorted(map(codec.tag_of, node_calls.REQUESTS)))
    return [Known(name, types[name]) for name in names if name in types]


def _is_node(address: str) -> bool:
    return parse_address(address).actor == "node"


def _is_common(klass: RequestClass) -> bool:
    return issubclass(klass, Inspection) or klass in (Ping, GetStatus)


def listing(found: Iterable[Known]) -> str:
    """Actors, their requests, and the fields of these; what all of them understand comes once, at the end."""
    table = requests()
    parts, common = [], set[str]()
    for actor, types in found:
        classes = {type_: table[type_] for type_ in types if type_ in table}
        own = [type_ for type_, klass in classes.items() if not _is_common(klass) or actor == "node"]
        common |= classes.keys() - set(own)
        parts += [actor, *(_lines(type_, table[type_]) for type_ in own), ""]
    if common:
        parts += ["every actor and broker", *(_lines(type_, table[type_]) for type_ in sorted(common)), ""]
    return "\n".join(parts).rstrip()


def _lines(type_: str, klass: RequestClass) -> str:
    first = meaning(klass).split(".  ")[0]
    fields = [f"      {name}: {kind}" for name, kind in fields_of(klass)]
    reply = codec.tag_of(reply_type(klass))
    return "\n".join([f"  {type_} -> {reply}   {first}", *fields])


def _as_objects(found: Iterable[Known]) -> list[dict[str, Any]]:
    table = requests()
    return [
        {
            "actor": actor,
            "requests": [
                {
                    "type": type_,
                    "fields": dict(fields_of(table[type_])),
                    "reply": codec.tag_of(reply_type(table[type_])),
                    "changes": not _is_query(table[type_]),
                }
                for type_ in types
                if type_ in table
            ],
        }
        for actor, types in found
    ]
