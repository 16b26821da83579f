"""Command lines over the bus: what they answer, and that each is carried out once."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest

from bus import codec
from bus.errors import ConflictError, InvalidError, OverloadedError
from bus.messages.base import Ack, Message
from bus.messages.cli import LineOutput, RunLine
from bus.messages.control import StopNode
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import DestroyNamespace, GetNamespaces, NamespaceList, SetConfig
from bus.messages.network import Bridges, GetBridges
from bus.messages.vm import GetVms, VmList, VmReport, VmState
from cli.server import lines
from cli.server.lines import LineIds, Lines
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm, make_vms


class Bench(EngineBench):
    """Lines on an engine on a fake bus."""

    def __init__(self, reactions: dict[type, Any] | None = None, hosts: tuple[str, ...] = ("n1",)) -> None:
        super().__init__(reactions, hosts)
        self.tasks: list[asyncio.Task[None]] = []
        self.lines = self.made_anew()

    def made_anew(self) -> Lines:
        """As after a restart of the command server."""
        return Lines(self.engine, self._start)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def line(self, text: str, line_id: str = "a", namespace: str = "exp1") -> LineOutput:
        """What a line answers."""
        return await self.lines.run(RunLine(line=text), line_id, namespace)


async def test_a_table_comes_as_header_and_rows_of_each_host() -> None:
    bench = Bench(hosts=("n1", "n2"))
    output = await bench.line(".columns name,state vm info")
    (group,) = output.groups
    assert [(one.host, one.header, one.rows) for one in group.responses] == [
        (host, ("name", "state"), (("web", "RUNNING"), ("db", "QUIT"))) for host in ("n1", "n2")
    ]
    assert {asked.namespace for asked in bench.bus.asked} == {"exp1"}
    assert codec.decode_body(codec.encode(output)) == output


async def test_an_error_of_a_command_is_part_of_the_answer() -> None:
    for line, sentence in (("vm inof", "vm info"), ("", ""), ("vm kill nobody", "nobody here knows KillVms")):
        output = await Bench().line(line)
        errors = [one.error for group in output.groups for one in group.responses]
        assert (len(errors), sentence in "".join(errors)) == (bool(line), True)


async def test_every_group_of_a_line_is_there_and_a_session_is_of_its_line_alone() -> None:
    bench = Bench()
    await bench.line("namespace other", "a")
    assert (await bench.line(".csv", "b")).groups[0].responses[0].text == "false"
    await bench.line("vm info", "c")
    assert bench.bus.asked[-1].namespace == "exp1"


async def test_a_name_that_is_no_unicode_and_data_of_any_kind_can_be_told() -> None:
    vm = make_vm(0, "a\udcff", VmState.RUNNING)
    output = await Bench({GetVms: make_vms(0).__class__(vms=(vm,))}).line("vm info")
    row = output.groups[0].responses[0].rows[0]
    assert "a\ufffd" in row
    codec.decode_body(codec.encode(output))


async def test_a_line_is_carried_out_once_by_its_id() -> None:
    release = asyncio.Event()

    async def slowly(asked: Asked) -> Ack:
        await release.wait()
        return Ack()

    bench = Bench({SetConfig: slowly})
    waiting = [asyncio.get_running_loop().create_task(bench.line("vm config memory 64")) for _ in range(3)]
    while not bench.bus.asked:  # noqa: ASYNC110 - another task makes it true
        await asyncio.sleep(0)
    waiting.pop().cancel()  # an asker that gives up stops nothing
    release.set()
    first, second = await asyncio.gather(*waiting)
    assert first == second == await bench.line("vm config memory 64")
    assert len(bench.bus.asked) == 1
    with pytest.raises(ConflictError):
        await bench.line("vm config memory 65")
    with pytest.raises(ConflictError):
        await bench.line("vm config memory 64", namespace="exp2")


async def test_a_line_that_is_run_again_after_a_crash_asks_under_the_same_ids() -> None:
    bench = Bench()
    script = ".columns name .filter name=web vm info"
    for text in ("vm config memory 64", script):
        bench.bus.asked.clear()
        await bench.line(text, text)
        before = [asked.msg_id for asked in bench.bus.asked]
        bench.bus.asked.clear()
        bench.lines = bench.made_anew()
        await bench.line(text, text)
        assert [asked.msg_id for asked in bench.bus.asked] == before
        assert all(msg_id.startswith(f"{text}/") for msg_id in before if msg_id)  # none: a question without retries
        assert any(before)


async def test_a_line_that_was_cancelled_says_so_and_a_bug_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = asyncio.Event()

    async def never(asked: Asked) -> Ack:
        await forever.wait()
        return Ack()

    bench = Bench({SetConfig: never})
    waiting = asyncio.get_running_loop().create_task(bench.line("vm config memory 64"))
    while not bench.bus.asked:  # noqa: ASYNC110 - another task makes it true
        await asyncio.sleep(0)
    bench.tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    monkeypatch.setattr(lines, "group_of", lambda group: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await bench.line("version", "b")


def test_ids_tell_requests_apart_and_number_those_that_are_equal() -> None:
    first, again = LineIds("a"), LineIds("a")
    one, two = SetConfig(param="memory", words=("1",)), SetConfig(param="memory", words=("2",))
    ids = [first("vm", one, "x"), first("vm", one, "x"), first("vm", two, "x"), first("vm", one, "y")]
    assert len(set(ids)) == 4
    other_order = [again("vm", two, "x"), again("vm", one, "y"), again("vm", one, "x"), again("vm", one, "x")]
    assert sorted(other_order) == sorted(ids)
    assert LineIds("b")("vm", one, "x") not in ids


async def test_more_output_than_an_answer_holds_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_OUTPUT", 2_000)
    output = await Bench({GetVms: make_vms(200)}).line("vm info")
    assert (output.groups, output.truncated) == ((), True)
    assert not (await Bench().line("version")).truncated


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_REMEMBERED", 2)
    bench = Bench()
    for number in range(5):
        await bench.line("vm config memory 64", str(number))
    count = len(bench.bus.asked)
    await bench.line("vm config memory 64", "4")
    assert len(bench.bus.asked) == count
    await bench.line("vm config memory 64", "0")
    assert len(bench.bus.asked) == count + 1


async def test_a_line_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 10)
    with pytest.raises(InvalidError, match="at most 10 characters"):
        await Bench().line("echo 12345678")


async def test_a_command_that_ends_the_connection_answers_nothing() -> None:
    ends: dict[type[Message], Any] = {
        DestroyNamespace: VmReport(),
        KillDnsmasqs: Ack(),
        GetBridges: Bridges(),
        StopNode: Ack(),
    }
    bench = Bench({GetNamespaces: NamespaceList(namespaces=()), **ends})
    assert await bench.line("quit") == LineOutput()
    assert bench.bus.asked[-1].request == StopNode()


async def test_one_key_has_not_all_lines_that_may_be_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_RUNNING_OF_KEY", 2)
    gate = asyncio.Event()

    async def waits(asked: Asked) -> VmList:
        await gate.wait()
        return VmList(vms=())

    bench = Bench({GetVms: waits})
    held = [asyncio.create_task(bench.line("vm info", f"key:alice:{number}")) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="of the key alice"):
        await bench.line("vm info", "key:alice:3")
    await bench.line("version", "key:bob:3")
    await bench.line("version", "local")
    gate.set()
    await asyncio.gather(*held)
    await bench.line("version", "key:alice:3")


async def test_of_answers_that_come_together_one_is_worked_on_in_each_round_of_the_loop() -> None:
    """A list of thousands takes a tenth of a second, and nobody is served meanwhile, the node's pings included."""
    gate, count, rounds, ended_in = asyncio.Event(), 20, 0, []

    async def waits(asked: Asked) -> VmList:
        await gate.wait()
        return make_vms(2)

    bench = Bench({GetVms: waits})

    async def line(number: int) -> None:
        await bench.line("vm info", f"key:alice:{number}")
        ended_in.append(rounds)

    tasks = [asyncio.create_task(line(number)) for number in range(count)]
    for _ in range(100):  # until all of them wait
        await asyncio.sleep(0)
    gate.set()
    for _ in range(1000):
        rounds += 1
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    assert len(set(ended_in)) == count


async def test_what_is_remembered_of_a_long_table_is_little_more_than_what_travels() -> None:
    bench = Bench({GetVms: make_vms(300)})
    await bench.line(".columns id,name,uuid,state vm info", "warm")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        size = 0
        for number in range(10):
            output = await bench.line(".columns id,name,uuid,state vm info", f"line{number}")
            size += len(codec.encode(output))
        del output
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 200_000
    assert after - before < 3 * size  # as objects it is seven times as much
