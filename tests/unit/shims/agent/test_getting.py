"""What the agent finds to be fetched: how much, and files that do not say how large they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shims.agent.commands import getting
from shims.agent.commands.getting import Get, UnreadableError, open_regular


class Line:
    """A server that has each file already."""

    has_room = True
    is_up = True

    def __init__(self) -> None:
        self.line = self
        self.said: list[dict[str, Any]] = []
        self.due: list[Callable[[], None]] = []

    def send(self, message: dict[str, Any]) -> None:
        """Keep it."""
        self.said.append(message)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        """When `work` comes to it."""
        self.due.append(call)

    def work(self, command: Get) -> dict[str, Any]:
        """Refuse every file until the command has ended; how it did."""
        refused = 0
        while not command.done:
            files = [message for message in self.said if message["type"] == "file"]
            for message in files[refused:]:
                stream = f"file/{message['index']}"
                command.take({"type": "failed", "serial": 1, "stream": stream, "error": "not wanted"})
            refused = len(files)
            while self.due:
                self.due.pop(0)()
        return command.done


def test_no_more_files_than_the_server_takes(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (base_dir / f"f{number}").write_text("x")
    monkeypatch.setattr(getting, "MAX_FILES", 7)
    server = Line()
    records = SimpleNamespace(end=lambda serial, done: None)
    command = Get(
        SimpleNamespace(session=server, loop=server, records=records),  # type: ignore[arg-type]
        {"serial": 1, "patterns": [str(base_dir)]},
    )
    command.begin()
    done = server.work(command)
    assert len([message for message in server.said if message["type"] == "file"]) == 7
    assert done["outcome"] == "failed" and done["error"].endswith("(and 7 more)"), "all refused, and the limit"


def test_of_a_file_without_a_size_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fd, _ = open_regular(b"/proc/self/status")
    assert os.pread(fd, 5, 0) == b"Name:"
    os.close(fd)
    monkeypatch.setattr(getting, "MAX_UNSIZED", 10)
    with pytest.raises(UnreadableError, match="does not say its size"):
        open_regular(b"/proc/self/status")
