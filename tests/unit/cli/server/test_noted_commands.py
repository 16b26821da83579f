"""What is noted of a command that somebody runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import ConflictError
from bus.logs import logs
from bus.messages.vm import KillVms
from tests.unit.cli.stand_ins import EngineBench

SECRET = "top-secret"


def noted(bench: EngineBench) -> list[tuple[str, str]]:
    """Words and outcome of each command, oldest first."""
    return [(entry.type, entry.outcome) for entry in bench.engine.inputs.entries() if entry.kind == "command"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"vm config hostname {SECRET}", "vm config hostname"),
        (f".annotate false .filter name={SECRET} vm info", ".annotate false (.filter (vm info))"),
        (f"namespace {SECRET} vm info", "namespace (vm info)"),
        (f"vm tag web {SECRET} {SECRET}", "vm tag"),
        ("vm inf", "vm info"),
    ],
)
async def test_only_the_words_of_the_command_itself(line: str, words: str) -> None:
    bench = EngineBench()
    await bench.run(line)
    assert [text for text, _ in noted(bench)] == [words]


async def test_how_it_ended() -> None:
    bench = EngineBench({KillVms: ConflictError("not now")})
    await bench.run("vm info")
    await bench.run("vm kill web")
    await bench.run("not a command")
    await bench.run("# a comment")
    assert noted(bench) == [("vm info", "ok"), ("vm kill", "error")]
    assert logs.message_id.get() == ""


async def test_commands_of_a_script_are_led_to_by_the_one_that_reads_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("vm info\nvm info\n")
    bench = EngineBench()
    await bench.run(f"read {script}")
    outer, first, second = bench.engine.inputs.entries()
    assert (outer.type, outer.cause, first.cause, second.cause) == ("read", "", outer.id, outer.id)
    assert len({outer.id, first.id, second.id}) == 3


async def test_a_client_that_leaves_in_the_middle() -> None:
    bench = EngineBench()
    groups = bench.engine.run_line("vm info", bench.session)
    await anext(groups)
    await groups.aclose()
    assert noted(bench) == [("vm info", "given up")]
    assert logs.message_id.get() == ""
