"""What the agent does about name servers that never answer, and about ends that come before a beginning."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shims.agent.commands.probing import Probe
from shims.agent.line import names
from shims.agent.line.wire import sendable
from shims.agent.loop import Timer
from shims.agent.tunnels import Tunnels


class Clock:
    """A loop whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Timer] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """As `Loop` does."""
        timer = Timer(self.now_s + delay_s, call)
        self.timers.append(timer)
        return timer

    def forget(self, fd: int) -> None:
        """Nobody waits for anything here."""

    def pass_until(self, end_s: float) -> None:
        """Make the calls that are due."""
        while due := [timer for timer in self.timers if timer.due_s <= end_s and timer.call is not None]:
            first = min(due, key=lambda timer: timer.due_s)
            self.timers.remove(first)
            self.now_s = first.due_s
            assert first.call is not None
            first.call()
        self.now_s = end_s


class Agent(SimpleNamespace):
    """As much of an agent as is needed; `said` is what it has told the server."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        session = SimpleNamespace(is_up=True, window=1 << 18, send=self.said.append, stream=lambda stream: None)
        records = SimpleNamespace(end=lambda serial, done: None)
        super().__init__(loop=Clock(), session=session, records=records)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[names.Answer]:
    """Those who wait for the address of a host, which comes only when a test says it."""
    waiting: list[names.Answer] = []
    monkeypatch.setattr(names, "resolve", lambda loop, host, answer: waiting.append(answer))
    return waiting


def test_a_test_of_a_connection_ends_in_time_without_any_name_server(asked: list[names.Answer]) -> None:
    agent = Agent()
    words = {"serial": 1, "protocol": "tcp", "host": "far.example", "port": 1, "wait_s": 1.0}
    probe = Probe(agent, words)  # type: ignore[arg-type]
    probe.begin()
    agent.loop.pass_until(0.9)
    assert not probe.done
    agent.loop.pass_until(1.1)
    assert (probe.done["outcome"], probe.done["code"], probe.done["error"]) == ("exited", 1, "no name server answers")
    asked[0]("127.0.0.1", "")  # too late
    assert len(probe.streams()) == 1 and probe.count("stdout") == len("far.example:1 | fail\n")


def test_a_connection_that_is_given_up_is_not_made_later(asked: list[names.Answer]) -> None:
    agent = Agent()
    tunnels = Tunnels(agent)  # type: ignore[arg-type]
    tunnels.take({"type": "dial", "connection": 2, "host": "far.example", "port": 1})
    tunnels.take({"type": "hang_up", "connection": 2})
    asked[0]("127.0.0.1", "")
    assert agent.said == [] and not agent.loop.timers and not tunnels.connections


@pytest.mark.parametrize(
    ("text", "sent"), [("plain \u00fc", "plain \u00fc"), ("a\udcff", "a\\xff"), ("\udcc3\udcbc", "\u00fc")]
)
def test_texts_of_the_system_can_travel(text: str, sent: str) -> None:
    assert sendable(text) == sent
