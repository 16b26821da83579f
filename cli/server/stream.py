"""Finds the JSON values in a byte stream, whether or not anything separates them. Pure."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

MAX_REQUEST = 16 * 1024 * 1024
"""Bytes of one request."""
MAX_DEPTH = 32
"""Nesting of one request; real ones have one level."""

_OUTSIDE = re.compile(rb'["{}\[\]]|[^ \t\r\n:,0-9+.EINaefilnrstuy-]')
"""What structure is made of, and what JSON, as `json` reads it, has nowhere outside strings."""
_INSIDE = re.compile(rb'["\\]|[\x00-\x1f]')
"""The same for strings: control characters are written as escapes there (RFC 8259, 7)."""
_BLANKS = re.compile(rb"[ \t\r\n]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


class StreamError(ValueError):
    """What came is not a request; the connection cannot go on."""


class SocketRequest(NamedTuple):
    """One request of a client; unused keys are empty."""

    command: str = ""
    suggest: str = ""
    plumb_pipe: str = ""


class RequestStream:
    """Feed it bytes, take requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        """Everything before it has been looked at."""
        self._depth = 0
        self._in_string = False
        self.broken: StreamError | None = None
        """Why nothing more can be read, once something came that is no request."""

    def feed(self, data: bytes) -> list[SocketRequest]:
        """The requests that these bytes complete. Those before a broken one still count; then `broken` is set.

        After one that asks for a pipe nothing more is read: `rest` has what came after it.
        """
        requests: list[SocketRequest] = []
        if self.broken is not None:
            return requests
        self._buffer += data
        try:
            while (value := self._next()) is not None:
                requests.append(parse_request(value))
                if requests[-1].plumb_pipe:
                    return requests
            if len(self._buffer) > MAX_REQUEST:
                raise StreamError(f"request of more than {MAX_REQUEST} bytes")
        except StreamError as error:
            self.broken = error
            self._buffer.clear()
        return requests

    def rest(self) -> bytes:
        """What has come and is not part of a request yet; it is forgotten here."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _next(self) -> bytes | None:
        if self._depth == 0 and not self._begin():
            return None
        while True:
            found = (_INSIDE if self._in_string else _OUTSIDE).search(self._buffer, self._position)
            if found is None:
                self._position = len(self._buffer)
                return None
            if not self._step(found.group(), found.start()):
                return None
            if self._depth == 0:
                return self._cut(self._position)

    def _begin(self) -> bool:
        """Skip blanks and enter an object; False if more bytes are needed. A bare `null` is an empty request."""
        blanks = _BLANKS.match(self._buffer)
        if blanks is not None:
            del self._buffer[: blanks.end()]
        self._position = 0
        if self._buffer[:1] == b"{":
            return True
        if b"null".startswith(self._buffer[:4]) and len(self._buffer) < 4:
            return False
        if self._buffer[:4] == b"null":
            self._buffer[:4] = b"{}"
            return True
        raise StreamError("a request must be a JSON object")

    def _step(self, byte: bytes, at: int) -> bool:
        """Take one byte that matters; False if the one after it is needed and missing. Raises StreamError.

        A client that sent garbage must not wait for an answer until it has closed all its brackets.
        """
        if byte == b"\\":
            if at + 1 >= len(self._buffer):
                self._position = at
                return False
            self._position = at + 2
            return True
        self._position = at + 1
        if byte not in b'"{}[]':
            raise StreamError(f"not JSON: unexpected byte 0x{byte[0]:02x}")
        if byte == b'"':
            self._in_string = not self._in_string
        elif byte in b"{[":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise StreamError(f"request is nested more than {MAX_DEPTH} deep")
        else:
            self._depth -= 1
        return True

    def _cut(self, end: int) -> bytes:
        value = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position = 0
        if len(value) > MAX_REQUEST:
            raise StreamError(f"request of more than {MAX_REQUEST} bytes")
        return value


def parse_request(value: bytes) -> SocketRequest:
    """Read one JSON object: keys in any case, unknown ones ignored, the last of equal ones counts.

    Raises StreamError. Invalid UTF-8 becomes U+FFFD, as lone surrogates do.
    """
    try:
        fields = json.loads(value.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise StreamError(f"not JSON: {error}") from error
    found = {"command": "", "suggest": "", "plumbpipe": ""}
    for key, field in fields.items():
        name = key.lower()
        if name not in found or field is None:
            continue
        if not isinstance(field, str):
            raise StreamError(f"{key} must be a string")
        found[name] = _SURROGATES.sub("\ufffd", field)
    return SocketRequest(found["command"], found["suggest"], found["plumbpipe"])
