"""Sends one command to the command socket and prints what comes back. Imports little: it runs once per command."""

from __future__ import annotations

import json
import sys

from cli.prompt.client import (
    CommandClient,
    ServerGoneError,
    cannot_connect,
    ends_server,
    errors_of,
    has_ended,
    responses_of,
)

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from typing import TextIO


def run(base: str, line: str, *, as_json: bool = False) -> tuple[bool, bool]:
    """Run a command line; gives whether it was answered to the end, and whether any host answered with an error.

    Text and JSON go to stdout, errors to stderr.
    """
    try:
        client = CommandClient(base)
    except OSError as error:
        sys.stderr.write(f"minibus: {cannot_connect(base, error)}\n")
        return False, False
    failed = False
    try:
        for reply in client.run(line):
            failed |= show(reply, as_json=as_json)
    except ServerGoneError:
        if ends_server(line) and has_ended(base):
            return True, failed
        sys.stderr.write(
            "minibus: the server closed the connection before it had answered; what became of the command is unknown\n"
        )
        return False, failed
    finally:
        client.close()
    return True, failed


def show(reply: dict[str, object], *, as_json: bool = False) -> bool:
    """Print one reply; gives whether it holds an error."""
    if as_json:
        print(json.dumps(responses_of(reply), ensure_ascii=False, separators=(",", ":")))
    elif reply.get("Rendered"):
        print(_for(sys.stdout, str(reply["Rendered"])))
    print(end="", flush=True)  # before the errors, so that both come in order on a terminal
    errors = errors_of(reply)
    if not as_json:
        for error in errors:
            sys.stderr.write(f"{_for(sys.stderr, error)}\n")
    return bool(errors)


def _for(stream: TextIO | None, text: str) -> str:
    if stream is None or not stream.isatty():
        return text
    from cli.answers.printable import printable

    return printable(text)
