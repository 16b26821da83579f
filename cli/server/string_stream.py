"""Finds the JSON strings in what a client writes into a pipe. Pure."""

from __future__ import annotations

import codecs
import json
import re

from bus.pipe_messages import MAX_MESSAGE
from cli.server.stream import StreamError

MAX_TEXT = 2 * MAX_MESSAGE
"""Characters of one string as JSON writes it, where some take six."""
NULL = "null"

_BLANKS = re.compile(r"[ \t\r\n]*")
_STOP = re.compile(r'["\\]')
_SURROGATES = re.compile("[\ud800-\udfff]")
_decode = json.JSONDecoder().raw_decode


class StringStream:
    """Feed it bytes, take strings. `null` counts as an empty one, as with minimega."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        """What has not been understood yet: the beginning of a string."""
        self._looked_at = 0
        """Where to go on looking for the end of that string."""

    def feed(self, data: bytes) -> list[str]:
        """The strings that these bytes complete; raises StreamError if there is anything else."""
        self._text += self._utf8.decode(data)
        if self._looked_at and not self._has_end():
            return []
        found: list[str] = []
        position = self._take_whole(found)
        self._text = self._text[position:]
        self._looked_at = 0
        if self._text and self._has_end():
            raise StreamError("what is written into a pipe must be JSON strings")
        return found

    def _take_whole(self, found: list[str]) -> int:
        """Take the strings that are complete; returns where the first one begins that is not."""
        text = self._text
        position = self._after_blanks(0)
        while position < len(text):
            if text[position] == '"':
                try:
                    value, end = _decode(text, position)
                except ValueError:
                    break
                found.append(_SURROGATES.sub("\ufffd", value))
            elif text.startswith(NULL, position):
                end = position + len(NULL)
            else:
                break
            position = self._after_blanks(end)
        return position

    def _after_blanks(self, position: int) -> int:
        blanks = _BLANKS.match(self._text, position)
        return blanks.end() if blanks is not None else position

    def _has_end(self) -> bool:
        """Whether the value at the beginning is all there; raises StreamError if it is too long or no string."""
        if not self._text.startswith('"'):
            return not NULL.startswith(self._text)
        position = self._looked_at or 1
        while (stop := _STOP.search(self._text, position)) is not None:
            if stop.group() == '"':
                return True
            position = stop.end() + 1
            if position > len(self._text):
                self._looked_at = stop.start()
                return False
        self._looked_at = len(self._text)
        if len(self._text) > MAX_TEXT:
            raise StreamError(f"a string is longer than {MAX_TEXT} characters")
        return False
