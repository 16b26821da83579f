"""What has come back from guests: `cc responses`."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator

from bus.messages.cc import GetResponses, ResponseFile
from cli.answers.printable import escaped
from cli.answers.render import encode_json
from cli.answers.response import Group, Response
from cli.commands.declare import Call, Command, CommandError, Scope

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


async def _responses(call: Call) -> AsyncIterator[Group]:
    """Text for people, files with their sizes for programs."""
    shown = Shown(raw=call.args.has("raw"))
    files: list[dict[str, object]] = []
    cursor = ""
    while True:
        request = GetResponses(target=call.args.text("id"), cursor=cursor)
        page = await call.engine.ask("cc", request, timeout_s=PAGE_S, namespace=call.session.namespace)
        for file in page.files:
            shown.add(file)
            if not file.offset:
                files.append({"id": file.id, "uuid": file.uuid, "name": file.name, "size": file.size})
        cursor = page.cursor
        if not cursor:
            break
        if shown.size > MAX_TEXT:
            raise CommandError(
                f"there are more than {MAX_TEXT >> 20} MiB of responses: "
                "ask for fewer, or read the files in miniccc_responses"
            )
    yield Group([Response(call.engine.host, shown.text(), data=files or None)])


COMMANDS = (
    Command(
        patterns=("cc <responses,> <id or prefix or all> [raw,]",),
        help_short="show what has come back from guests",
        help_long="""\
Shows what programs wrote, and the files that `cc recv` got, of one command, of
those with a prefix, or of all. Before each stands which it is, unless `raw`:
COMMAND/UUID/stdout, COMMAND/UUID/stderr, or the path in the guest. The same files
are in the file area, in `miniccc_responses`.""",
        scope=Scope.BROADCAST,
        run=_responses,
        completers={"id": "cc_target"},
    ),
)
