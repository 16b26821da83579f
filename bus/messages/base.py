"""What every message on the bus is built from.

A message is a msgspec Struct; on the wire it is a msgpack map whose key `type` names it (`vm.start`). A request names
the type of its reply as its type argument, so that type checkers follow an ask from question to answer.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec

DEFAULT_NAMESPACE = "minimega"
WILDCARD = "all"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="message"):
    """Anything that travels in the body frame."""


R_co = TypeVar("R_co", bound=Message, covariant=True)


class Request(Message, Generic[R_co], frozen=True, kw_only=True, omit_defaults=True, tag="request"):
    """Something to be done; answered once, by `R_co` or a `Failure`. Idempotent by its envelope's id."""


class Query(Request[R_co], Generic[R_co], frozen=True, kw_only=True, omit_defaults=True, tag="query"):
    """A request that changes nothing: neither journaled nor remembered."""


class Event(Message, frozen=True, kw_only=True, omit_defaults=True, tag="event"):
    """A past fact, published after the state has changed."""


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """Done, and there is nothing to tell."""


class Failure(Message, frozen=True, kw_only=True, omit_defaults=True, tag="failure"):
    """In place of a reply: why there is none. `code` is one of `bus.errors.CODES`."""

    code: str
    message: str
    """One sentence for the user."""
    origin: str = ""
    """Address of who failed."""
    retryable: bool = False
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


def reply_type(request: type[Request[Any]]) -> type[Message]:
    """The reply class that a request class declares, e.g. `Ack` for `class Ping(Query[Ack])`."""
    for klass in request.__mro__:
        for base in getattr(klass, "__orig_bases__", ()):
            origin, args = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, Request) and args and isinstance(args[0], type):
                return args[0]
    raise TypeError(f"{request.__name__} does not name its reply")
