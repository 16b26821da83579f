"""The last inputs of a process, and what is told of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bus import codec
from bus.actor.input_report import MAX_SUMMARY, input_list, summary
from bus.actor.inputs import CAPACITY, MAX_KEPT_BODY, Inputs
from bus.errors import CancelledError, UnreachableError
from bus.logs import logs
from bus.messages.base import Ack, Failure, Message
from bus.messages.control import Ping
from bus.messages.debug import GetInputs, InputList, InputRecord
from bus.messages.envelope import Envelope
from bus.messages.files import FetchUrl
from bus.messages.guest import GuestReport, GuestReports
from bus.messages.host import RunProgram
from bus.messages.vm import GetVmNames, GetVms, StartVms, VmNames
from tests.unit.bus.toy import running


def request(
    msg_id: str, body: Message | None = None, *, cause: str = "", sent_s: float = 0.0
) -> tuple[Envelope, bytes]:
    """Envelope and body of a request."""
    body = body or StartVms(target="web")
    envelope = Envelope(
        kind="request",
        id=msg_id,
        type=codec.tag_of(body),
        sender="cli@n1",
        namespace="exp1",
        cause=cause,
        ttl_ms=1000,
        time=sent_s,
    )
    return envelope, codec.encode(body)


def told(inputs: Inputs, after: int = 0) -> list[InputRecord]:
    """As an asker gets them."""
    return list(input_list("vm", inputs, after).inputs)


def test_a_request_is_under_way_until_it_is_answered() -> None:
    inputs = Inputs()
    inputs.received(*request("a", cause="root"))
    (record,) = told(inputs)
    assert (record.kind, record.type, record.id, record.cause) == ("request", "vm.start", "a", "root")
    assert (record.sender, record.namespace, record.summary) == ("cli@n1", "exp1", "target=web")
    assert (record.outcome, record.duration_s) == ("", None)
    inputs.answered("a", Ack())
    (record,) = told(inputs)
    assert record.outcome == "ok"
    assert record.duration_s is not None and 0 <= record.duration_s < 5
    inputs.answered("a", Ack())
    assert inputs.outcomes == {"ok": 1}
    assert inputs.handling.latency().count == 1


def test_failures_count_by_their_codes() -> None:
    inputs = Inputs()
    for number, code in enumerate(("invalid", "invalid", "conflict")):
        inputs.received(*request(f"r{number}"))
        inputs.answered(f"r{number}", Failure(code=code, message="no"))
    assert inputs.outcomes == {"invalid": 2, "conflict": 1}


@pytest.mark.parametrize(("ago_s", "counted"), [(0.5, 1), (2.0, 0), (-10.0, 0), (1e9, 0)])
def test_time_on_the_way_counts_if_it_can_be_true(ago_s: float, counted: int) -> None:
    inputs = Inputs()
    inputs.received(*request("a", sent_s=time.time() - ago_s))
    assert inputs.queueing.latency().count == counted


def test_signs_of_life_and_questions_are_left_out() -> None:
    inputs = Inputs()
    for body in (Ping(), GetInputs()):
        envelope, data = request("a", body)
        inputs.received(envelope, data)
        with inputs.asking(envelope, data):
            pass
    assert inputs.entries() == []


def test_the_last_thousand_are_kept_and_whatever_is_under_way() -> None:
    inputs = Inputs()
    inputs.received(*request("first"))
    for number in range(3 * CAPACITY):
        inputs.received(*request(f"r{number}"))
        inputs.answered(f"r{number}", Ack())
    records = told(inputs)
    assert len(records) == CAPACITY + 1
    assert [records[0].id, records[1].id, records[-1].id] == ["first", f"r{2 * CAPACITY}", f"r{3 * CAPACITY - 1}"]
    assert [record.id for record in told(inputs, after=records[-2].number)] == ["first", records[-1].id]


def test_a_request_asked_again_while_it_is_under_way() -> None:
    inputs = Inputs()
    inputs.received(*request("a"))
    inputs.entries()[0].begun_s -= 10.0
    inputs.received(*request("a"))
    inputs.answered("a", Ack())
    first, second = told(inputs)
    assert (first.outcome, second.outcome) == ("asked again", "ok")
    assert second.duration_s is not None and second.duration_s > 10.0, "it counts from the first time on"


def test_asks_end_as_they_end() -> None:
    inputs = Inputs()
    with inputs.asking(*request("a")):
        assert told(inputs)[0].outcome == ""
    for error in (UnreachableError("nobody"), TimeoutError(), KeyError()):
        with pytest.raises(type(error)), inputs.asking(*request("b")):
            raise error
    assert [record.outcome for record in told(inputs)] == ["ok", "unreachable", "deadline", "given up"]


def test_what_a_command_leads_to_names_it_as_cause() -> None:
    inputs = Inputs()
    with inputs.command("vm launch", "c1", "exp1") as entry:
        assert logs.message_id.get() == "c1"
        entry.outcome = "error"
        inputs.reported("vm.instances_prepared")
    assert logs.message_id.get() == ""
    command, report = told(inputs)
    assert (command.kind, command.type, command.id, command.outcome) == ("command", "vm launch", "c1", "error")
    assert (report.kind, report.cause) == ("report", "c1")


def test_equal_reports_in_a_row_are_one() -> None:
    inputs = Inputs()
    with inputs.command("vm launch", "c1", "exp1"):
        for _ in range(3 * CAPACITY):
            inputs.reported("warden_answered")
        inputs.reported("other")
        inputs.reported("warden_answered")
    inputs.reported("warden_answered")
    found = [(record.type, record.cause, record.times) for record in told(inputs)[1:]]
    assert found == [
        *(("warden_answered", "c1", 3 * CAPACITY), ("other", "c1", 1)),
        *(("warden_answered", "c1", 1), ("warden_answered", "", 1)),
    ]


def test_what_somebody_else_would_have_got() -> None:
    inputs = Inputs()
    envelope, _ = request("a")
    inputs.refused(envelope, "cli@n1", CancelledError("vm@n1 went away"))
    (record,) = told(inputs)
    assert (record.sender, record.outcome, record.summary) == ("cli@n1", "cancelled", "vm@n1 went away")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (GetVms(target="web[1-9]"), "target=web[1-9]"),
        (RunProgram(argv=("curl", "-u", "me:secret"), env={"TOKEN": "secret"}), ""),
        (FetchUrl(url="https://me:secret@example.org/?key=secret"), ""),
        (StartVms(target="\x1b[2J" + "x" * 300), "target=\x1b[2J" + "x" * 56 + "..."),
    ],
)
def test_names_and_numbers_are_told_and_contents_are_not(body: Message, said: str) -> None:
    data = codec.encode(body)
    assert summary(data, len(data)) == said


@pytest.mark.parametrize("data", [b"\xc1", b"\x93", b"\x01", codec.encode(GetVms(target="x"))[:-1]])
def test_any_bytes_are_summed_up(data: bytes) -> None:
    assert len(summary(data, len(data))) <= MAX_SUMMARY + 3


def test_long_messages_are_not_kept() -> None:
    inputs = Inputs()
    inputs.received(*request("a", StartVms(target="x" * MAX_KEPT_BODY)))
    (entry,) = inputs.entries()
    assert entry.body == b""
    assert told(inputs)[0].summary == f"({entry.size_bytes} bytes)"


# --- of a step actor


async def inputs_of(toy: object) -> list[InputRecord]:
    """What the actor answers."""
    toy.deliver(GetInputs(), "q")  # type: ignore[attr-defined]
    reply = await toy.reply_to("q")  # type: ignore[attr-defined]
    assert isinstance(reply, InputList)
    return list(reply.inputs)


async def test_effects_are_reported_under_the_request_that_led_to_them(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.request("ring", "m1")
        toy.request("web", "m2")
        await toy.reply_to("m2")
        records = await inputs_of(toy)
    assert [(one.kind, one.type, one.id or one.cause, one.outcome) for one in records] == [
        ("report", "recovered", "", "ok"),
        ("request", "vm.start", "m1", "ok"),
        ("request", "vm.start", "m2", "ok"),
        ("report", "toy.rang", "m1", "ok"),
    ]


async def test_log_records_of_an_effect_name_the_request(base_dir: Path) -> None:
    seen: list[str] = []
    async with running(base_dir) as toy:
        toy.actor.ring = lambda name: seen.append(logs.message_id.get())
        toy.request("ring a", "m1")
        toy.request("ring b", "m2")
        toy.request("ask", "m3")
        toy.port.answer.set_result(GuestReports(reports=(GuestReport(vm_id=1),)))
        await toy.reply_to("m3")
        assert seen == ["m1", "m2"]
        assert logs.message_id.get() == ""


async def test_requests_of_before_a_crash_are_recalled(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        toy.request("ask", "m2")
        toy.deliver(GetVmNames(), "m3")
        await toy.reply_to("m3")
    async with running(base_dir) as toy:
        known = [(one.id, one.outcome) for one in await inputs_of(toy) if one.restored]
        assert known == [("m1", "ok"), ("m2", "")], "queries are not in the journal"
        toy.port.answer.set_result(GuestReports(reports=(GuestReport(vm_id=1),)))
        await toy.reply_to("m2")
        assert [(one.id, one.outcome) for one in await inputs_of(toy) if one.restored] == [("m1", "ok"), ("m2", "ok")]
        assert toy.actor.inputs.handling.latency().count == 0, "the time of two processes tells of neither"
        toy.deliver(GetVmNames(), "m4")
        assert await toy.reply_to("m4") == VmNames(uuids={"web": "1", "ask": "1"})
        assert toy.actor.inputs.handling.latency().count == 1
