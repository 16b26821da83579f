"""Programs that stay connected end when minibus has ended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bus.errors import UnreachableError
from bus.lock import FileLock
from cli.looking.processes import run
from cli.place import Place
from cli.streams import presence
from cli.streams.presence import while_there


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_S", 0.01)
    monkeypatch.setattr(presence, "GONE_S", 0.1)


async def forever(noted: list[str]) -> int:
    try:
        await asyncio.Event().wait()
    finally:
        noted.append("ended")
    return 0


async def test_what_the_work_gives(base_dir: Path) -> None:
    async def work() -> int:
        return 7

    assert await while_there(Place(base_dir), work()) == 7


async def test_a_failure_of_the_work(base_dir: Path) -> None:
    async def work() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await while_there(Place(base_dir), work())


async def test_who_waits_for_ever_is_ended_and_told(base_dir: Path) -> None:
    noted: list[str] = []
    with pytest.raises(UnreachableError, match=r"does not run on .* any more"):
        await while_there(Place(base_dir), forever(noted))
    assert noted == ["ended"]


@pytest.mark.parametrize("lock", ["node.lock", "broker.lock"])
async def test_nobody_is_ended_while_node_or_broker_is_there(base_dir: Path, lock: str) -> None:
    held = FileLock(base_dir / "run" / lock, "it")
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(while_there(Place(base_dir), forever([])), 0.5)
    finally:
        held.release()


async def test_who_was_stopped_for_a_while_looks_first(base_dir: Path) -> None:
    async def stopped() -> int:
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # noqa: ASYNC251 - as Ctrl-Z does
        await asyncio.sleep(0.05)
        return 7

    held = FileLock(base_dir / "run" / "node.lock", "it")
    try:
        assert await while_there(Place(base_dir), stopped()) == 7
    finally:
        held.release()


def test_tools_say_so_in_one_sentence(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Place(base_dir), forever([])) == 1
    assert capsys.readouterr().err == f"minibus: minibus does not run on {base_dir} any more\n"
