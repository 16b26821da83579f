"""Errors that cross the bus: one table between codes on the wire and exception classes.

BusError
├── MalformedError        malformed      the receiver could not decode it: a bug or another version
├── UnknownTypeError      unknown_type   nobody there handles this type
├── InvalidError          invalid        it decodes, but a value is wrong
├── NotFoundError         not_found      there is no such thing
├── ConflictError         conflict       it clashes with what is there
├── DeniedError           denied         the asker may not
├── UnreachableError      unreachable    nobody at the address; said at once; retryable
├── OverloadedError       overloaded     the receiver's queue is full; retryable
├── UnavailableError      unavailable    the host lacks what it takes
├── OutcomeUnknownError   (base)         it may or may not have been done: ask for the state, or repeat with the same id
│   ├── DeadlineError     deadline       out of time
│   └── CancelledError    cancelled      the receiver went away; retryable
├── InternalError         internal       a bug at the origin, where the log has the trace under the message's id
├── RemoteError           anything else  a code this version does not know
├── ClosedError           never sent     the client, subscription or pipe that was used has been closed
└── CommandFailed         never sent     a command line of `Client.rows` failed on some host
"""

from __future__ import annotations

from typing import Any, ClassVar

from bus.messages.base import Failure


class BusError(Exception):
    """An ask that brought no reply. `str()` is one sentence for the user."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, origin: str = "", detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.origin = origin
        self.detail = detail or {}


class MalformedError(BusError):
    """The receiver could not decode the message."""

    code = "malformed"


class UnknownTypeError(BusError):
    """The receiver has no handler for the type."""

    code = "unknown_type"


class InvalidError(BusError):
    """A value is wrong."""

    code = "invalid"


class NotFoundError(BusError):
    """There is no such thing."""

    code = "not_found"


class ConflictError(BusError):
    """It clashes with what is there."""

    code = "conflict"


class DeniedError(BusError):
    """The asker has no right to it."""

    code = "denied"


class UnreachableError(BusError):
    """Nobody is registered at the address."""

    code = "unreachable"
    retryable = True


class OverloadedError(BusError):
    """The receiver's queue is full."""

    code = "overloaded"
    retryable = True


class UnavailableError(BusError):
    """The host lacks a facility that it takes."""

    code = "unavailable"


class OutcomeUnknownError(BusError):
    """The request may or may not have been carried out."""

    code = "deadline"


class DeadlineError(OutcomeUnknownError):
    """No answer in time."""

    code = "deadline"


class CancelledError(OutcomeUnknownError):
    """The receiver, or the broker between, went away before it answered."""

    code = "cancelled"
    retryable = True


class InternalError(BusError):
    """A bug at the origin."""

    code = "internal"


class RemoteError(BusError):
    """A failure with a code that this version does not know; `detail["code"]` has it."""

    code = "remote"


class ClosedError(BusError):
    """What was used has been closed, or belongs to another process."""

    code = "closed"


class CommandFailed(BusError):
    """A command line failed on some host; `str()` has a line for each."""

    code = "command_failed"


CODES: dict[str, type[BusError]] = {
    klass.code: klass
    for klass in (
        MalformedError,
        UnknownTypeError,
        InvalidError,
        NotFoundError,
        ConflictError,
        DeniedError,
        UnreachableError,
        OverloadedError,
        UnavailableError,
        DeadlineError,
        CancelledError,
        InternalError,
    )
}


def from_failure(failure: Failure) -> BusError:
    """The exception that a `Failure` stands for."""
    klass = CODES.get(failure.code, RemoteError)
    detail = failure.detail if klass is not RemoteError else {**failure.detail, "code": failure.code}
    return klass(failure.message, origin=failure.origin, detail=detail)


def to_failure(error: BusError, origin: str) -> Failure:
    """The `Failure` that tells of this exception; the first origin is kept."""
    return Failure(
        code=error.code,
        message=str(error),
        origin=error.origin or origin,
        retryable=error.retryable,
        detail=error.detail,
    )
