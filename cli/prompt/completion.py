"""Tab at a prompt: the line editor of the standard library (readline) asks the server how a line may go on."""

from __future__ import annotations

import contextlib
import readline
import signal
from collections.abc import Iterator, Sequence

from cli.prompt.client import CommandClient, ServerGoneError

PATIENCE_S = 3.0
"""The server itself gives those it asks two."""
DELIMITERS = " \t"
"""The server replaces what follows the last blank, and so does readline."""


class Completer:
    """Gives the suggestions for the last word one by one, as readline asks for them."""

    def __init__(self, client: CommandClient) -> None:
        self._client = client
        self._words: list[str] = []

    def __call__(self, text: str, state: int) -> str | None:
        """Suggestion number `state` for the word before the cursor."""
        if state == 0:
            self._words = self._ask(readline.get_line_buffer()[: readline.get_endidx()])
        return self._words[state] if state < len(self._words) else None

    def _ask(self, line: str) -> list[str]:
        typed = line.lstrip()
        if self._client.is_behind:
            return []
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # half a reply would be taken for the next one
        try:
            self._client.send(suggest=typed or " ")  # an empty one would be no request at all
            lines = self._client.receive(PATIENCE_S).get("Suggest")
        except (ServerGoneError, TimeoutError):  # the next command will tell
            return []
        finally:
            signal.signal(signal.SIGINT, before)
        return last_words(typed, [str(one).lstrip() for one in lines]) if isinstance(lines, list) else []


def last_words(typed: str, lines: Sequence[str]) -> list[str]:
    """What may stand for the last word of `typed`, from whole suggested lines."""
    head = typed[: max(typed.rfind(blank) for blank in DELIMITERS) + 1]
    return [line[len(head) :] for line in lines if line.startswith(head)]


@contextlib.contextmanager
def completing(client: CommandClient) -> Iterator[None]:
    """While it lasts, `input` has Tab completion and a history of its own."""
    before = readline.get_completer(), readline.get_completer_delims()
    readline.clear_history()
    readline.set_completer(Completer(client))
    readline.set_completer_delims(DELIMITERS)
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])
