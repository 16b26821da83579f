"""Messages of one pipe on their way from writers to readers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.plumber import flow as flow_module
from actors.plumber import readers as readers_module
from actors.plumber.flow import Attached as Came
from actors.plumber.flow import CutOff, Deliver, Detached, Done, Effect, Flow, FullError, Publish
from bus.messages.pipe import Overflow, PipeMode
from bus.pipe_messages import Content, MessageError, content_of, frame, split
from tests.unit.examples import examples


def lines(*texts: str) -> Content:
    return content_of("".join(f"{text}\n" for text in texts).encode())


@dataclass
class Attached:
    """A reader as the other side of the bus has it."""

    name: str
    got: list[bytes] = field(default_factory=list)
    after: int = 0
    done: int = 0
    lost: int = 0
    ended: bool = False


class Bench:
    """A flow with readers that keep what they get; tickets of reads are odd, of writes even."""

    def __init__(self, *names: str, mode: PipeMode = PipeMode.ALL, overflow: Overflow = Overflow.BLOCK) -> None:
        self.flow = Flow(mode=mode, overflow=overflow)
        self.now_s = 0.0
        self.readers = {name: Attached(name) for name in names}
        self.waiting: dict[int, str] = {}
        self.published: list[Publish] = []
        self.done: list[int] = []
        self.cut: list[CutOff] = []
        self.remembered: set[str] = set()
        self._ticket = 1
        for name in names:
            self.read(name)

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Deliver():
                    reader = self.readers[self.waiting.pop(effect.ticket)]
                    for delivery in effect.deliveries:
                        assert delivery.number == reader.after + 1
                        reader.after = delivery.number
                        found = split(delivery.data, framed=delivery.framed)
                        assert len(found) == delivery.count
                        reader.got.extend(found)
                    reader.lost = effect.lost
                    reader.ended |= effect.ended
                case Publish():
                    self.published.append(effect)
                case Done():
                    self.done.append(effect.ticket)
                case CutOff():
                    self.cut.append(effect)
                case Came(reader=name):
                    self.remembered.add(name)
                case Detached(reader=name):
                    self.remembered.discard(name)

    def write(self, *texts: str, ticket: int = 0) -> None:
        self.take(self.flow.write(lines(*texts), ticket))

    def read(self, name: str, *, max_bytes: int = 1 << 20) -> bool:
        """Say that all so far is done and ask for more; False if the reader was cut off."""
        reader = self.readers[name]
        reader.done = reader.after
        self._ticket += 2
        self.waiting[self._ticket] = name
        effects = self.flow.read(
            name,
            done=reader.done,
            after=reader.after,
            max_bytes=max_bytes,
            ticket=self._ticket,
            now_s=self.now_s,
        )
        self.take(effects or [])
        return effects is not None

    def got(self, name: str) -> str:
        return b"".join(self.readers[name].got).decode().replace("\n", " ").strip()


def test_everybody_gets_everything_in_order() -> None:
    bench = Bench("a", "b")
    bench.write("1", "2")
    bench.write("3")
    for name in ("a", "b"):
        bench.read(name)
        assert bench.got(name) == "1 2 3"
    assert [(found.first_seq, found.content.count) for found in bench.published] == [(1, 2), (3, 1)]
    assert bench.flow.last == b"3\n"


def test_a_writer_is_told_when_the_last_reader_is_done() -> None:
    bench = Bench("a", "b")
    bench.write("1", ticket=2)
    assert bench.done == []
    bench.read("a")
    assert bench.done == []
    bench.read("b")
    assert bench.done == [2]


def test_without_readers_a_message_is_published_and_gone() -> None:
    bench = Bench()
    bench.write("1", ticket=2)
    assert (bench.done, len(bench.published)) == ([2], 1)
    bench.readers["late"] = Attached("late")
    bench.read("late")
    assert bench.got("late") == ""


def test_round_robin_takes_turns_over_batches() -> None:
    bench = Bench("a", "b", "c", mode=PipeMode.ROUND_ROBIN)
    bench.write("1", "2", "3", "4")
    bench.write("5", "6")
    for name in "abc":
        bench.read(name)
    assert [bench.got(name) for name in "abc"] == ["1 4", "2 5", "3 6"]
    assert {found.reader for found in bench.published} == {"a", "b", "c"}
    assert [found.first_seq for found in bench.published if found.reader == "a"] == [1]
    assert [found.first_seq for found in bench.published if found.reader == "b"] == [1, 2]


def test_random_gives_each_message_to_one() -> None:
    bench = Bench("a", "b", mode=PipeMode.RANDOM)
    for number in range(100):
        bench.write(str(number))
        bench.read("a")
        bench.read("b")
    together = sorted(map(int, f"{bench.got('a')} {bench.got('b')}".split()))
    assert together == list(range(100))
    assert len(bench.readers["a"].got) > 20
    assert len(bench.readers["b"].got) > 20


def test_what_a_program_made_for_each_reader_goes_to_that_reader() -> None:
    bench = Bench("a", "b")
    bench.take(bench.flow.write(lines("x"), 2, [("a", lines("xa")), ("b", lines("xb")), ("gone", lines("xc"))]))
    assert (bench.got("a"), bench.got("b")) == ("xa", "xb")
    assert bench.flow.last == b"x\n"
    bench.read("a")
    bench.read("b")
    assert bench.done == [2]


def test_a_full_queue_makes_writers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_QUEUE_BYTES", 4)
    bench = Bench("slow", "fast")
    bench.write("1", ticket=2)  # answers the reads that wait
    bench.read("fast")
    bench.write("2", ticket=4)
    bench.write("3", ticket=6)
    assert bench.flow.holding
    bench.read("fast")
    assert bench.got("fast") == "1 2"
    assert bench.done == []
    bench.read("slow")
    bench.read("slow")
    bench.read("slow")
    bench.read("fast")
    bench.read("fast")
    assert bench.got("slow") == bench.got("fast") == "1 2 3"
    assert bench.done == [2, 4, 6]
    assert not bench.flow.holding


def test_too_much_that_waits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_QUEUE_BYTES", 1)
    monkeypatch.setattr(flow_module, "MAX_HELD_BYTES", 4)
    bench = Bench("slow")
    bench.write("1")
    bench.write("2")
    bench.write("3")
    with pytest.raises(FullError):
        bench.write("4")


def test_a_reader_that_drops_is_told_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_QUEUE_BYTES", 4)
    bench = Bench("slow", overflow=Overflow.DROP)
    for number in range(10):
        bench.write(str(number), ticket=2 * number + 2)
    bench.read("slow")
    bench.read("slow")
    assert bench.got("slow") == "0 1"
    assert bench.readers["slow"].lost == bench.flow.dropped == 8
    assert len(bench.done) == 10


def test_a_silent_reader_is_cut_off_and_told_when_it_comes_back() -> None:
    bench = Bench("silent", "other")
    bench.write("1", ticket=2)
    bench.now_s = 4.9
    bench.read("other")
    bench.take(bench.flow.tick(4.9))
    assert bench.cut == []
    bench.take(bench.flow.tick(5.1))
    assert bench.cut == [CutOff("silent", 1)]
    assert bench.done == [2]
    assert (bench.flow.cut_off, bench.flow.dropped) == (1, 1)
    assert not bench.read("silent")
    assert not bench.read("silent")
    assert bench.remembered == {"other"}


def test_a_slow_reader_that_gives_signs_of_life_is_waited_for() -> None:
    bench = Bench("slow")
    bench.write("1", ticket=2)
    for second in range(20):
        bench.now_s = float(second)
        bench.waiting[1] = "slow"
        bench.take(bench.flow.read("slow", done=0, after=1, max_bytes=0, ticket=1, now_s=bench.now_s) or [])
        bench.take(bench.flow.tick(bench.now_s))
    assert (bench.cut, bench.done) == ([], [])


def test_who_waits_for_messages_is_never_silent_and_who_left_without_a_word_is_forgotten() -> None:
    bench = Bench("waits")
    bench.take(bench.flow.tick(1000.0))
    assert list(bench.flow.readers) == ["waits"]
    bench.write("1")
    bench.now_s = 1000.0
    bench.waiting[1] = "waits"
    bench.take(bench.flow.read("waits", done=1, after=1, max_bytes=0, ticket=1, now_s=1000.0) or [])
    bench.take(bench.flow.tick(1061.0))
    assert (list(bench.flow.readers), bench.cut) == ([], [])


def test_the_end_of_a_pipe_comes_after_its_last_message() -> None:
    bench = Bench("busy", "idle")
    bench.write("1")
    bench.read("idle")
    bench.take(bench.flow.end())
    assert bench.readers["idle"].ended
    assert not bench.readers["busy"].ended
    bench.read("busy")
    assert bench.got("busy") == "1"
    assert bench.readers["busy"].ended
    bench.readers["busy"].ended = False
    bench.read("busy")
    assert bench.readers["busy"].ended  # the answer may have been lost
    bench.take(bench.flow.leave("busy"))
    bench.take(bench.flow.tick(5.1))
    assert bench.flow.readers == {}


def test_a_reader_that_reads_ahead_gets_nothing_twice_and_its_writer_waits() -> None:
    flow = Flow()
    flow.read("r", done=0, after=0, max_bytes=99, ticket=1, now_s=0)
    flow.write(lines("1"), 2)
    assert flow.read("r", done=0, after=1, max_bytes=99, ticket=3, now_s=0) == []
    (publish, deliver) = flow.write(lines("2"), 4)
    assert isinstance(publish, Publish)
    assert isinstance(deliver, Deliver)
    assert [found.data for found in deliver.deliveries] == [b"2\n"]
    assert flow.read("r", done=1, after=2, max_bytes=99, ticket=5, now_s=0) == [Done(2)]


def test_an_answer_that_was_lost_is_given_again() -> None:
    flow = Flow()
    flow.read("r", done=0, after=0, max_bytes=99, ticket=1, now_s=0)
    flow.write(lines("1"))
    (again,) = flow.read("r", done=0, after=0, max_bytes=99, ticket=3, now_s=0) or []
    assert isinstance(again, Deliver)
    assert [found.data for found in again.deliveries] == [b"1\n"]


@pytest.mark.parametrize(
    ("data", "framed", "messages"),
    [
        (b"a\nb\n", False, [b"a\n", b"b\n"]),
        (b"a\nb", False, [b"a\n", b"b\n"]),
        (b"\n", False, [b"\n"]),
        (b"", False, [b"\n"]),
        (b"\r\x00\x0b\n", False, [b"\r\x00\x0b\n"]),
        (frame(b"a\nb") + frame(b""), True, [frame(b"a\nb"), frame(b"")]),
        (b"", True, []),
    ],
)
def test_messages_are_told_apart(data: bytes, framed: bool, messages: list[bytes]) -> None:
    content = content_of(data, framed=framed)
    assert split(content.data, framed=framed) == messages
    assert content.count == len(messages)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x00\x00", "within its length"),
        (frame(b"abc")[:-1], "says 3 bytes, and 2 are there"),
        (b"\xff\xff\xff\xff", "longer than"),
    ],
)
def test_broken_frames_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(MessageError, match=sentence):
        content_of(data, framed=True)


class AnyOrder(RuleBasedStateMachine):
    """Whatever readers and writers do: who stays attached gets all since it came, in order, once."""

    @initialize(mode=st.sampled_from(PipeMode))
    def begin(self, mode: PipeMode) -> None:
        self.bench = Bench(mode=mode)
        self.mode = mode
        self.written = 0
        self.expected: dict[str, int] = {}

    @rule(name=st.sampled_from("abc"))
    def read(self, name: str) -> None:
        if name not in self.bench.readers:
            self.bench.readers[name] = Attached(name)
            self.expected[name] = self.written
        self.bench.read(name)

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        texts = [str(self.written + number) for number in range(count)]
        self.written += count
        self.bench.write(*texts, ticket=2 * self.written)

    @rule(name=st.sampled_from("abc"))
    def leave(self, name: str) -> None:
        if name in self.bench.readers:
            self.bench.take(self.bench.flow.leave(name))
            del self.bench.readers[name]
            del self.expected[name]

    @invariant()
    def in_order_and_complete(self) -> None:
        if not hasattr(self, "bench"):
            return
        for name, reader in self.bench.readers.items():
            numbers = [int(message) for message in reader.got]
            assert numbers == sorted(set(numbers))
            if self.mode is PipeMode.ALL:
                assert numbers == list(range(self.expected[name], self.expected[name] + len(numbers)))
        assert len(self.bench.done) == len(set(self.bench.done))
        if self.mode is PipeMode.ALL:
            assert self.bench.done == sorted(self.bench.done)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=examples(50), stateful_step_count=30)
