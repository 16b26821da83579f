"""Journal, kill, replay: what an actor promises whatever happens to its process."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import msgpack
import pytest

from bus.actor import step_actor
from bus.actor import store as store_module
from bus.actor.step import Effect, Input
from bus.errors import UnavailableError, UnreachableError
from bus.messages.base import Ack, Failure
from bus.messages.control import GetStatus, Ping, Status
from bus.messages.guest import GuestReport, GuestReports, KillGuests
from bus.messages.vm import GetVmNames, KillVms, VmNames, VmReport
from bus.node.lifecycle import EXIT_BUG
from tests.unit.bus.toy import Running, Tally, Toy, report, running, step

ANSWERED = GuestReports(reports=(GuestReport(vm_id=1),))


def failed(body: object) -> str:
    """The code of a failure."""
    assert isinstance(body, Failure), body
    return body.code


async def test_a_kill_loses_nothing_that_was_answered(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        for number in range(3):
            toy.request("web", f"m{number}")
        assert await toy.reply_to("m2") == report("web", 3)
        before = toy.actor.state
    async with running(base_dir) as toy:
        assert (toy.actor.state.counts, toy.actor.state.ids) == (before.counts, before.ids)
        assert len(set(before.ids)) == 3
        toy.request("web", "m3")
        assert await toy.reply_to("m3") == report("web", 4)


async def test_a_repeated_id_gets_the_same_answer_and_is_not_done_again(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        toy.request("web", "m1")
        assert toy.port.replies == [("m1", report("web", 1))] * 2
    async with running(base_dir, stop=True) as toy:
        toy.request("web", "m1")
        assert toy.port.replies == [("m1", report("web", 1))]
    async with running(base_dir) as toy:  # now from the snapshot
        toy.request("web", "m1")
        assert toy.port.replies == [("m1", report("web", 1))]
        assert toy.actor.state.counts == {"web": 1}


async def test_more_can_be_said_than_is_kept_for_a_repeat(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "outgoing", lambda self, msg_id, body: report(f"more than {msg_id}", 9))
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        toy.request("web", "m1")
        assert toy.port.replies == [("m1", report("more than m1", 9)), ("m1", report("web", 1))]


async def test_an_open_ask_is_sent_again_with_the_same_id(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.request("ask", "m1")
        await toy.until(lambda: bool(toy.port.asked))
        first = toy.port.asked
    async with running(base_dir, stop=True) as toy:
        await toy.until(lambda: bool(toy.port.asked))
        assert toy.port.asked == first
    async with running(base_dir) as toy:  # from the snapshot
        toy.request("ask", "m1")  # a repeat of what is still open: one answer will do
        toy.port.answer.set_result(ANSWERED)
        assert await toy.reply_to("m1") == report("asked", 1)
        assert (toy.port.asked, toy.actor.memory.open_asks, toy.actor.inbox()) == (first, {}, 0)
    async with running(base_dir) as toy:
        assert toy.port.asked == []
        toy.request("ask", "m1")
        assert toy.port.replies == [("m1", report("asked", 1))]


async def test_an_ask_that_fails_is_an_input_too(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.port.answer.set_exception(UnavailableError("no container here"))
        toy.request("ask", "m1")
        assert failed(await toy.reply_to("m1")) == "unavailable"
    async with running(base_dir) as toy:
        assert (toy.actor.state.waiting, toy.port.asked) == ({}, [])


@pytest.mark.parametrize("void_written", [True, False])
async def test_an_input_that_breaks_step_is_voided_and_its_asker_told(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, void_written: bool
) -> None:
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        if not void_written:  # as if the process had been killed in between
            monkeypatch.setattr(Toy, "_give_up", lambda actor: None)
        said: list[str] = []
        monkeypatch.setattr(toy.actor.lane, "last_words", said.append)
        toy.request("boom", "m2")
        assert said == ["its step failed on Received: ValueError: a broken invariant"]
        assert toy.actor.exit_status == (EXIT_BUG if void_written else 0)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"web": 1}
        toy.request("boom", "m2")
        assert failed(await toy.reply_to("m2")) == "internal"
        toy.request("web", "m3")
        assert await toy.reply_to("m3") == report("web", 2)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"web": 2}


async def test_what_took_long_is_not_left_to_a_replay(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_actor, "REPLAY_S", 0.0)
    state = base_dir / "state" / "toy"
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        await toy.reply_to("m1")
        await toy.until(lambda: (state / "snapshot").exists() and (state / "journal").stat().st_size == 0)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"web": 1}


async def test_a_broken_actor_does_nothing_more_and_writes_no_snapshot(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_actor, "SYNC_INTERVAL_S", 0.001)
    async with running(base_dir, stop=True) as toy:
        await asyncio.sleep(0)  # the task that writes snapshots has begun
        toy.request("ring", "m1")
        toy.request("web", "m2")
        monkeypatch.setattr(store_module, "SNAPSHOT_AFTER_RECORDS", 0)
        toy.request("boom", "m3")
        await toy.until(lambda: {task.get_name() for task in toy.actor._tasks}.isdisjoint({"sync", "Ring"}))
        assert toy.port.replies == []
        toy.request("web", "m4")
        assert failed(await toy.reply_to("m4")) == "unreachable"
    assert not (base_dir / "state" / "toy" / "snapshot").exists()
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"ring": 1, "web": 1}
        toy.request("web", "m2")
        assert toy.port.replies == [("m2", report("web", 1))]


async def test_several_inputs_may_break_the_replay(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(base_dir) as toy:
        monkeypatch.setattr(Toy, "_give_up", lambda actor: None)
        for msg_id, target in (("m1", "boom"), ("m2", "web"), ("m3", "boom")):
            toy.request(target, msg_id)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"web": 1}


def full_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every write to a journal and every snapshot fails."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    return monkeypatch


async def test_a_full_disk_refuses_requests_and_leaves_the_state_alone(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(base_dir) as toy:
        toy.request("web", "m1")
        with monkeypatch.context() as patch:
            full_disk(patch)
            toy.request("web", "m2")
            body = await toy.reply_to("m2")
            assert body == Failure(
                code="unavailable",
                message="cannot record the request: No space left on device",
                origin=f"toy@{toy.actor.context.host}",
            )
            assert toy.actor.state.counts == {"web": 1}
            toy.deliver(GetVmNames(), "m3")
            assert await toy.reply_to("m3") == VmNames(uuids={"web": "1"})
        toy.request("web", "m2")  # the repeat is done now: nothing was before
        assert await toy.reply_to("m2") == report("web", 2)


async def test_what_has_happened_is_taken_in_on_a_full_disk_and_made_durable_later(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_actor, "SYNC_INTERVAL_S", 0.001)
    monkeypatch.setattr(step_actor, "REPAIR_INTERVAL_S", 0.001)
    async with running(base_dir) as toy:
        with monkeypatch.context() as patch:
            toy.request("ring", "m1")
            full_disk(patch)
            await toy.until(lambda: toy.actor.state.counts == {"ring": 101})
            toy.request("web", "m2")
            assert failed(await toy.reply_to("m2")) == "unavailable"
        await toy.until(lambda: not toy.actor._behind)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"ring": 101}


async def test_breaking_on_an_input_that_is_not_journaled_voids_no_other(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(base_dir) as toy:
        toy.request("ring", "m1")
        toy.request("web", "m2")
        store = toy.actor._store
        assert store is not None
        append = store.append

        def refuse_inputs(record: dict[str, object], **options: bool) -> None:
            if "input" in record:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(record, **options)

        monkeypatch.setattr(store, "append", refuse_inputs)
        toy.actor.state.counts.clear()  # so that `Rang` breaks
        await toy.until(lambda: toy.actor.exit_status == EXIT_BUG)
    async with running(base_dir) as toy:
        assert toy.actor.state.counts == {"ring": 1, "web": 1}


async def test_effects_come_one_after_the_other_and_before_the_reply_behind_them(base_dir: Path) -> None:
    rung: list[str] = []
    async with running(base_dir) as toy:
        toy.actor.ring = rung.append
        toy.request("ring a", "m1")
        toy.request("ring b", "m2")
        toy.request("web", "m3")
        assert (rung, toy.port.replies) == ([], [])
        await toy.reply_to("m3")
        assert rung == ["ring a", "ring b"]
        assert [msg_id for msg_id, _ in toy.port.replies] == ["m1", "m2", "m3"]


async def test_an_effect_that_fails_is_logged_and_the_next_ones_follow(base_dir: Path) -> None:
    def fail(name: str) -> None:
        raise ValueError(name)

    logged: list[str] = []
    async with running(base_dir) as toy:
        toy.actor.log.publish = lambda level, event, fields: logged.append(event)
        toy.actor.ring = fail
        toy.request("ring", "m1")
        assert await toy.reply_to("m1") == report("ring", 1)
        assert logged == ["effect_failed"]


async def test_an_effect_cut_off_by_the_end_is_followed_by_nothing(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.request("ring", "m1")
    assert toy.port.replies == []
    async with running(base_dir) as toy:
        toy.request("ring", "m1")
        assert toy.port.replies == [("m1", report("ring", 1))]


async def test_requests_that_come_before_recovery_wait_for_it(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Running(base_dir)
    seen: list[str] = []

    def watched(state: Tally, inp: Input) -> list[Effect]:
        seen.append(type(inp).__name__)
        return step(state, inp)

    monkeypatch.setattr(toy.actor, "step", watched)
    toy.request("web", "m1")
    await toy.actor.start()
    try:
        assert await toy.reply_to("m1") == report("web", 1)
        assert seen == ["Recovered", "Received"]
        assert toy.port.published == ["toy/recovered/"]
    finally:
        await toy.actor.stop()
        tasks = tuple(toy.actor._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refusal(base: Path) -> str:
    """Why the toy does not start."""
    toy = Running(base)
    with pytest.raises(UnavailableError) as caught:
        await toy.actor.start()
    assert toy.actor._store is not None
    toy.actor._store.close()
    return str(caught.value)


async def test_a_journal_of_another_version_is_refused_in_one_sentence(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        assert toy.actor._store is not None
        toy.actor._store.append({"input": {"type": "toy.haunted"}})
    assert "the journal of toy is not of this version" in await refusal(base_dir)


@pytest.mark.parametrize("state", [{}, {"state": {"counts": []}, "memory": {}}, 5])
async def test_a_snapshot_of_another_version_is_refused_in_one_sentence(base_dir: Path, state: object) -> None:
    directory = base_dir / "state" / "toy"
    directory.mkdir(parents=True)
    (directory / "snapshot").write_bytes(msgpack.packb({"n": 1, "state": msgpack.packb(state)}))
    assert "the snapshot of toy is not of this version" in await refusal(base_dir)


async def test_every_actor_answers_ping_status_and_what_it_does_not_know(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.deliver(Ping(), "m1")
        assert await toy.reply_to("m1") == Ack()
        toy.request("ask", "m2")
        toy.deliver(GetStatus(), "m3")
        status = await toy.reply_to("m3")
        assert isinstance(status, Status)
        assert (status.actor, status.inbox, status.asks, status.pid) == ("toy", 1, 1, os.getpid())
        toy.deliver(VmReport(), "m4")
        assert failed(await toy.reply_to("m4")) == "unknown_type"


async def test_requests_of_others_are_refused_by_their_type_and_not_journaled(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.deliver(KillVms(target="web"), "m1")
        refused = await toy.reply_to("m1")
        assert isinstance(refused, Failure)
        assert (refused.code, refused.message) == ("unknown_type", "toy does not understand vm.kill")
    async with running(base_dir) as toy:
        assert toy.actor.memory.replies.get("m1") is None


async def test_a_failing_handler_fails_its_request_and_nothing_else(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        toy.deliver(GetVmNames(), "m1", namespace="broken")
        body = await toy.reply_to("m1")
        assert body == Failure(
            code="internal",
            message="internal error in toy; its log has it under m1",
            origin=f"toy@{toy.actor.context.host}",
        )
        toy.deliver(GetVmNames(), "m2", namespace="denied")
        assert failed(await toy.reply_to("m2")) == "denied"
        toy.deliver(GetVmNames(), "m3")
        assert await toy.reply_to("m3") == VmNames(uuids={})


async def test_garbage_in_a_request_is_answered(base_dir: Path) -> None:
    async with running(base_dir) as toy:
        from bus.messages.envelope import Envelope

        for number, data in enumerate((b"", b"\xc1", b"\x80", b"\x81\xa4type\xa1x")):
            toy.actor._on_request(Envelope(kind="request", id=f"m{number}"), data)
        codes = [failed(body) for _, body in toy.port.replies]
        assert codes == ["malformed", "malformed", "malformed", "unknown_type"]


async def test_too_many_requests_under_way_are_refused(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.actor.base.MAX_INBOX", 1)
    async with running(base_dir) as toy:
        toy.request("ask", "m1")
        toy.deliver(KillGuests(vm_ids=()), "m2")
        assert failed(await toy.reply_to("m2")) == "overloaded"


async def test_a_request_to_an_actor_that_has_ended_is_not_taken(base_dir: Path) -> None:
    async with running(base_dir, stop=True) as toy:
        pass
    toy.request("web", "m1")
    assert toy.port.replies == [
        ("m1", Failure(code=UnreachableError.code, message="toy is ending", origin=toy.actor._origin, retryable=True))
    ]
