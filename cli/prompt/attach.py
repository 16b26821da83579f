"""`minibus attach`: a prompt on a running minibus; without a terminal, a script read from stdin.

One connection serves commands and completion: at the prompt no command runs, and the session's namespace, aliases and
variables count for both.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from types import FrameType

from cli.answers.printable import printable
from cli.grammar.quoting import quote
from cli.prompt import pager
from cli.prompt.client import (
    CommandClient,
    ServerGoneError,
    cannot_connect,
    ends_server,
    errors_of,
    has_ended,
    responses_of,
)
from cli.prompt.completion import completing

MINIMEGA = "minimega"
ACTIVE_NAMESPACE = ".record false .filter active=true namespace"
EXIT_INTERRUPTED = 130


class Ending(Enum):
    """Why a prompt has ended."""

    LEFT = "left"
    """End of input, or `disconnect`."""
    STOPPED = "stopped"
    """A command ended the server."""
    GONE = "gone"
    """The server went away by itself, and the user has been told."""


class Prompt:
    """Reads lines, runs them, shows the answers."""

    def __init__(self, client: CommandClient, *, label: Callable[[str], str], is_owner: bool = False) -> None:
        """`label` makes the prompt of the active namespace.

        The owner is the daemon's own prompt: its `quit` needs no second one, and it cannot be left with `disconnect`.
        """
        self.failed = False
        """Whether any command was answered with an error."""
        self._client = client
        self._label = label
        self._is_owner = is_owner
        self._warned = False

    def run(self, first: str = "") -> Ending:
        """Until the input ends or the server does; `first` is run before any input."""
        try:
            if first:
                self._execute(first)
            if self.failed:
                return Ending.LEFT
            if not is_terminal():
                return self._run_script()
            with completing(self._client):
                return self._converse()
        except ServerGoneError:
            _say("the server has closed the connection")
            return Ending.GONE

    def _run_script(self) -> Ending:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        for line in sys.stdin or ():
            if ending := self._take(line):
                return ending
        return Ending.LEFT

    def _converse(self) -> Ending:
        while True:
            label = self._label(self._namespace())
            try:
                line = input(label)
            except EOFError:
                print()
                return Ending.LEFT
            except KeyboardInterrupt:
                print()
                continue
            if ending := self._take(line):
                return ending

    def _take(self, line: str) -> Ending | None:
        """Run a line; gives why nothing can follow it. Raises ServerGoneError."""
        line = line.strip()
        if not line:
            return None
        if line == "disconnect" and not self._is_owner:
            return Ending.LEFT
        if line == "quit" and not self._is_owner and not self._warned:
            self._warned = True
            _say("quit ends minibus and all its guests, for everybody: once more if you mean it, disconnect to leave")
            return None
        self._warned = False
        try:
            self._execute(line)
        except ServerGoneError:
            if not ends_server(line):
                raise
            return Ending.STOPPED
        return None

    def _execute(self, line: str) -> None:
        with _patience():
            for reply in self._client.run(line):
                self._show(reply)

    def _show(self, reply: dict[str, object]) -> None:
        if rendered := reply.get("Rendered"):
            pager.show(printable(str(rendered)) if is_terminal() else str(rendered))
        errors = errors_of(reply)
        for error in errors:
            sys.stderr.write(f"{printable(error) if is_terminal() else error}\n")
        self.failed |= bool(errors)

    def _namespace(self) -> str:
        """The session's namespace, which any command may have changed."""
        with _patience():
            return "".join([active_namespace(responses_of(reply)) for reply in self._client.run(ACTIVE_NAMESPACE)])


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """At a terminal, the first Ctrl-C does not interrupt the wait for an answer: it could come apart from the next."""
    if not is_terminal():
        yield
        return
    presses = itertools.count(1)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if next(presses) > 1:
            raise KeyboardInterrupt
        _say("the command goes on; Ctrl-C once more leaves without its answer")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_terminal() -> bool:
    """Whether a person types and reads: neither stdin nor stdout is a file, a pipe or closed."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def active_namespace(responses: Sequence[Mapping[str, object]]) -> str:
    """The name in the answer to `ACTIVE_NAMESPACE`; empty if there is none."""
    for response in responses:
        header, rows = response.get("Header"), response.get("Tabular")
        if isinstance(header, list) and "namespace" in header and isinstance(rows, list) and rows:
            return str(rows[0][header.index("namespace")])
    return ""


def attach(base: str, *, namespace: str = "", as_minimega: bool = False) -> int:
    """Be a prompt on the minibus of a base directory; returns the exit status."""
    try:
        client = CommandClient(base)
    except OSError as error:
        _say(cannot_connect(base, error))
        return 1

    def label(active: str) -> str:
        if not as_minimega:
            return f"minibus[{active}]$ "
        return f"{MINIMEGA}:{base}/minimega{f'[{namespace}]' if namespace else ''}$ "

    prompt = Prompt(client, label=label)
    if is_terminal():
        print("This minibus may be used by others: `quit` ends it for everybody, with all guests.")
        print("`disconnect` or Ctrl-D leaves it running.\n")
    try:
        ending = prompt.run(f"namespace {quote(namespace)}" if namespace else "")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        client.close()
    if ending is Ending.STOPPED and not has_ended(base):
        _say("the server has closed the connection, but minibus goes on")
        ending = Ending.GONE
    return int(ending is Ending.GONE or (prompt.failed and not as_minimega))


def _say(sentence: str) -> None:
    sys.stderr.write(f"minibus: {sentence}\n")
