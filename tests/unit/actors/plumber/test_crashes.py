"""The plumber dies at any moment: a writer that repeats and readers that come back lose nothing."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.plumber.flow import Flow
from actors.plumber.readers import Deliver, Done, Effect
from bus.pipe_messages import content_of
from tests.unit.examples import examples


@dataclass
class Numbers:
    """A reader of numbered lines."""

    last: int = 0
    after: int = 0
    done: int = 0

    def take(self, effect: Deliver) -> None:
        for delivery in effect.deliveries:
            assert delivery.number == self.after + 1
            self.after = delivery.number
            for number in map(int, delivery.data.split()):
                assert number == self.last + 1 or (number <= self.last and delivery.repeated)
                self.last = max(self.last, number)


class ThroughCrashes(RuleBasedStateMachine):
    """A writer that repeats what it has no answer for, readers that come back: nothing is lost, repeats are marked."""

    @initialize()
    def begin(self) -> None:
        self.flow = Flow()
        self.readers = {name: Numbers() for name in "ab"}
        self.tickets: dict[int, str] = {}
        self.ticket = 0
        self.unanswered: list[int] = []
        self.written = 0
        for name in self.readers:
            self.ask(name)

    def take(self, effects: list[Effect] | None) -> None:
        assert effects is not None, "a reader was sent away"
        for effect in effects:
            if isinstance(effect, Done):
                assert effect.ticket == -self.unanswered.pop(0)
            elif isinstance(effect, Deliver) and effect.ticket in self.tickets:
                self.readers[self.tickets.pop(effect.ticket)].take(effect)

    def ask(self, name: str) -> None:
        reader = self.readers[name]
        self.ticket += 1
        self.tickets[self.ticket] = name
        self.take(
            self.flow.read(name, done=reader.done, after=reader.after, max_bytes=9, ticket=self.ticket, now_s=0.0)
        )

    @rule(name=st.sampled_from("ab"), dealt_with=st.booleans())
    def read(self, name: str, dealt_with: bool) -> None:
        if dealt_with:
            self.readers[name].done = self.readers[name].after
        self.ask(name)

    @rule()
    def write(self) -> None:
        self.written += 1
        self.unanswered.append(self.written)
        self.take(self.flow.write(content_of(b"%d\n" % self.written), -self.written))

    @rule(first=st.sampled_from("ab"), writer_first=st.booleans())
    def crash(self, first: str, writer_first: bool) -> None:
        self.flow = Flow()
        self.flow.expect("ab", 0.0)
        self.tickets.clear()
        if not writer_first:
            self.ask(first)
        for number in tuple(self.unanswered):
            self.take(self.flow.write(content_of(b"%d\n" % number, repeated=True), -number))
        for name in "ab":
            self.ask(name)

    @invariant()
    def what_was_answered_is_there(self) -> None:
        if hasattr(self, "flow"):
            answered = self.written - len(self.unanswered)
            assert all(reader.last >= answered for reader in self.readers.values())


TestThroughCrashes = ThroughCrashes.TestCase
TestThroughCrashes.settings = settings(max_examples=examples(100), stateful_step_count=40)
