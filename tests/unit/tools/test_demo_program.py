"""Programs that the demo runs: their sentences, their end, and what an interruption does to them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tools.demo_program import DemoError, Output, reason, run_program
from tools.demo_session import guest_count, main, make_base, parse


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (Output(1, "", "minibus: it is not running\n"), "`minibus ps`: it is not running"),
        (Output(1, "", "warning\nError (kn1): vm not found: x\n"), "`minibus ps`: Error (kn1): vm not found: x"),
        (Output(1, "said on stdout\n", ""), "`minibus ps`: said on stdout"),
        (Output(3, "", " \n"), "`minibus ps`: exit status 3"),
    ],
)
def test_reason(output: Output, sentence: str) -> None:
    assert reason(["ps"], output) == sentence


async def test_output_and_status() -> None:
    program = "import sys; print('a'); sys.stderr.write('b'); sys.exit(3)"
    assert await run_program([sys.executable, "-c", program], 20) == Output(3, "a\n", "b")


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(DemoError, match="cannot run /nowhere/x: No such file"):
        await run_program(["/nowhere/x"], 1)


async def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(DemoError, match=r"`sleep 60` has not ended within 0\.1 s"):
        await run_program(["/bin/sleep", "60"], 0.1)


async def test_a_cancelled_program_finishes_its_work(tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    gate = tmp_path / "gate"
    for fifo in (begun, gate):
        os.mkfifo(fifo)
    script = f"from pathlib import Path; Path({str(begun)!r}).write_text('x'); Path({str(gate)!r}).read_text(); "
    script += f"Path({str(done)!r}).touch()"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_program([sys.executable, "-c", script], 60))
        await asyncio.to_thread(begun.read_text)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.to_thread(gate.write_text, "go")
    assert task.cancelled()
    assert done.exists()


@pytest.mark.parametrize("text", ["0", "-1", "1001", "many", "", "1.5", "9" * 5000, "²"])
def test_bad_numbers_of_guests(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([f"--guests={text}"])
    assert caught.value.code == 2
    assert "expected a number from 1 to 1000" in capsys.readouterr().err


def test_number_of_guests() -> None:
    assert guest_count("7") == 7
    assert parse([]).guests == 100


def test_a_base_of_its_own(tmp_path: Path) -> None:
    assert make_base(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(DemoError, match="is there already"):
        make_base(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match=r"cannot make .*: Not a directory"):
        make_base(tmp_path / "file" / "base")


def test_a_base_in_tmp() -> None:
    base = make_base(None)
    assert str(base).startswith("/tmp/mbd-")
    base.rmdir()


def test_without_root_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "demo: must be run as root: nobody else may make namespaces, mounts and cgroups\n"
    )
