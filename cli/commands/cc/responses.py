"""What has come back from guests: `cc responses`."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator

import msgspec

from bus.errors import BusError
from bus.messages.cc import GetResponses, ResponseFile
from bus.messages.vm import GetVmNames
from cli.answers.printable import escaped
from cli.answers.render import encode_json
from cli.answers.response import Group, Response, Row
from cli.commands.declare import QUICK_S, Call, Command, CommandError, Scope

HEADER = ("id", "vm", "uuid", "file", "size", "text")
ROW_BYTES = 1024
"""Of a file in a table."""
PAGE_S = 60.0
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of responses, as JSON, that one command shows: they are written in one go, meanwhile nobody else is served.
Larger ones are read in the directory."""


class Shown:
    """Files as text: the path of each before it, a newline behind it."""

    def __init__(self, *, raw: bool) -> None:
        self.size = 0
        """Bytes as JSON so far: six for one of a character that has to be escaped."""
        self._raw = raw
        self._parts: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, file: ResponseFile) -> None:
        """Take a file, or the next piece of the last one."""
        if not file.offset:
            self._decoder.reset()
            if not self._raw:
                self._append(f"{file.id}/{file.uuid}/{escaped(file.name.lstrip('/'))}:\n")
        ends = file.offset + len(file.data) >= file.size
        self._append(self._decoder.decode(file.data, final=ends))
        if ends:
            self._append("\n")

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self.size += len(encode_json(text))

    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)


async def _pages(call: Call, most: int = 0) -> AsyncIterator[tuple[ResponseFile, ...]]:
    """All that is meant, with at most so many bytes of each file."""
    request = GetResponses(target=call.args.text("id"), most=most)
    while True:
        page = await call.engine.ask("cc", request, timeout_s=PAGE_S, namespace=call.session.namespace)
        yield page.files
        if not page.cursor:
            return
        request = msgspec.structs.replace(request, cursor=page.cursor)


def _check(size: int) -> None:
    if size > MAX_TEXT:
        raise CommandError(
            f"there are more than {MAX_TEXT >> 20} MiB of responses: "
            "ask for fewer, or read the files in miniccc_responses"
        )


async def _responses(call: Call) -> AsyncIterator[Group]:
    """Text for people, files with their sizes for programs."""
    if call.args.has("table"):
        yield await _table(call)
        return
    shown = Shown(raw=call.args.has("raw"))
    files: list[dict[str, object]] = []
    async for page in _pages(call):
        for file in page:
            shown.add(file)
            if not file.offset:
                files.append({"id": file.id, "uuid": file.uuid, "name": file.name, "size": file.size})
        _check(shown.size)
    yield Group([Response(call.engine.host, shown.text(), data=files or None)])


async def _table(call: Call) -> Group:
    """One row a file, with the beginning of what is in it."""
    try:
        names = await call.engine.ask("vm", GetVmNames(), timeout_s=QUICK_S, namespace=call.session.namespace)
        vms = {uuid.lower(): name for name, uuid in names.uuids.items()}
    except BusError:
        vms = {}  # the UUID says it too
    rows: list[Row] = []
    data: list[dict[str, object]] = []
    size = 0
    async for page in _pages(call, most=ROW_BYTES):
        for file in page:
            text = file.data.decode("utf-8", "replace").rstrip("\n")
            more = "..." if file.size > len(file.data) else ""
            vm = vms.get(file.uuid, "")
            rows.append((str(file.id), vm, file.uuid, escaped(file.name), str(file.size), escaped(text) + more))
            row = {"id": file.id, "vm": vm, "uuid": file.uuid, "name": file.name, "size": file.size, "text": text}
            data.append(row)
            size += len(encode_json(row))
        _check(size)
    return Group([Response(call.engine.host, header=HEADER, rows=rows, data=data)])


COMMANDS = (
    Command(
        patterns=("cc <responses,> <id or prefix or all> [raw,]", "cc <responses,> <id or prefix or all> <table,>"),
        help_short="show what has come back from guests",
        help_long="""\
Shows what programs wrote, and the files that `cc recv` got, of one command, of
those with a prefix, or of all. Before each stands which it is, unless `raw`:
COMMAND/UUID/stdout, COMMAND/UUID/stderr, or the path in the guest. The same files
are in the file area, in `miniccc_responses`.

As a table there is one row for each of them, with its size and the beginning of
what is in it:

	cc responses 3 table""",
        scope=Scope.BROADCAST,
        run=_responses,
        completers={"id": "cc_target"},
    ),
)
