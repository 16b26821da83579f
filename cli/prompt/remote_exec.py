"""`minibus exec --key FILE`: one command line on another host, over the bus instead of the command socket."""

from __future__ import annotations

import asyncio
import json
import sys

import msgspec

from bus.errors import BusError
from bus.language.ranges import fold
from bus.library.api import Client
from bus.library.lines import Output as Lines
from bus.messages.cli import LineGroup, LineResponse
from cli.answers.render import encode_json, render
from cli.answers.response import Group, Output, Response
from cli.place import Place
from cli.prompt.one_shot import show

TRUNCATED = "the answer was longer than 32 MiB, and the rest is left out; the command was carried out"


def run(place: Place, line: str, *, namespace: str = "", as_json: bool = False) -> tuple[bool, bool]:
    """Run a command line; gives whether it was answered whole, and whether any host answered with an error.

    What is printed is what `cli.prompt.one_shot.run` prints of the same line on that host.
    """
    try:
        output = asyncio.run(_ask(place, line, namespace))
    except BusError as error:
        sys.stderr.write(f"minibus: {error}\n")
        return False, False
    failed = False
    for group in output.groups:
        failed |= show(reply(group), as_json=as_json)
    if output.truncated:
        sys.stderr.write(f"minibus: {TRUNCATED}\n")
    return not output.truncated, failed


async def _ask(place: Place, line: str, namespace: str) -> Lines:
    async with Client(place.address, key=place.key, namespace=namespace) as client:
        return await client.run(line)


def reply(told: LineGroup) -> dict[str, object]:
    """A group as the command socket tells it."""
    group = Group([_response(one) for one in told.responses])
    style = Output(**msgspec.structs.asdict(told.style)) if told.style is not None else Output()
    responses = json.loads(encode_json([one.to_json() for one in group.responses]))
    return {"Resp": responses, "Rendered": render(group, style, fold), "More": False}


def _response(told: LineResponse) -> Response:
    return Response(
        host=told.host,
        text=told.text,
        header=told.header,
        rows=told.rows if told.header is not None else None,
        error=told.error,
        data=told.data,
    )
