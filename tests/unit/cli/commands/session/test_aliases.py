"""Aliases of a connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.messages.vm import GetVmNames, VmNames
from cli.session.session import Session
from tests.unit.cli.stand_ins import EngineBench


async def test_an_alias_is_listed_used_and_removed() -> None:
    bench = EngineBench()
    await bench.run(".alias names=.columns name vm info")
    await bench.run(".alias hi = echo hey")
    listed = await bench.one(".alias")
    assert listed.header == ("alias", "expansion")
    assert listed.rows == [("hi", "echo hey"), ("names", ".columns name vm info")]
    assert (await bench.one(".filter name=web names")).rows == [("web",)]
    assert await bench.text("hi there") == "hey there"
    assert (await bench.error("hit")).startswith("invalid command: `hit`")
    await bench.run(".unalias hi")
    await bench.run(".unalias never-was")
    assert (await bench.error("hi there")).startswith("invalid command: `hi there`")


@pytest.mark.parametrize("text", ["x", "=x", "two words=x", "'a#b=c'", ".unalias=x"])
async def test_what_is_no_alias_is_refused(text: str) -> None:
    bench = EngineBench()
    error = await bench.error(f".alias {text}")
    assert error.startswith("expected alias of format `alias=expansion`") or "cannot be an alias" in error
    assert bench.session.aliases == {}


async def test_an_expansion_that_cannot_be_read_is_refused() -> None:
    bench = EngineBench()
    assert "missing terminal" in await bench.error(r".alias x=echo \"open")
    assert bench.session.aliases == {}


async def test_an_alias_may_use_the_command_it_is_named_after() -> None:
    bench = EngineBench()
    await bench.run(".alias echo=echo loud")
    assert await bench.text("echo x") == "loud x"


@pytest.mark.parametrize("second", ["x", "x x x", ".annotate false x"])
async def test_aliases_of_each_other_end(second: str) -> None:
    bench = EngineBench()
    await bench.run(".alias x=y")  # no command begins with these letters
    await bench.run(f".alias y={second}")
    assert (await bench.error("x")).startswith("invalid command: ")
    assert (await bench.error("y")).startswith("invalid command: ")


async def test_history_holds_what_was_meant() -> None:
    bench = EngineBench()
    await bench.run(".alias hi=echo hey")
    await bench.run("hi 'two words' \\$x")
    await bench.run("echo   plain")
    assert bench.session.history.lines[1:] == ('echo hey "two words" "\\$x"', "echo   plain")


async def test_another_session_knows_nothing_of_it() -> None:
    bench = EngineBench()
    await bench.run(".alias zz=echo hey")
    other = [group async for group in bench.engine.run_line("zz", Session())]
    assert other[0].responses[0].error.startswith("invalid command: `zz`")


async def test_aliases_complete_and_are_looked_through() -> None:
    bench = EngineBench({GetVmNames: VmNames(uuids={"web": "u-1"})})
    await bench.run(".alias starting=vm kill")
    assert await bench.engine.suggest("star", bench.session) == ["starting "]
    assert await bench.engine.suggest("starting w", bench.session) == ["starting web "]
    assert await bench.engine.suggest(".unalias s", bench.session) == [".unalias starting "]


async def test_a_script_that_is_only_checked_may_define_its_aliases(tmp_path: Path) -> None:
    bench = EngineBench()
    script = tmp_path / "script"
    script.write_text(".alias zz=echo hey\nzz there\n.unalias zz\nzz\n")
    error = await bench.error(f"read {script} check")
    assert error.startswith(f"{script}:4: invalid command: `zz`")
    assert bench.session.aliases == {}


async def test_what_one_connection_may_keep_is_bounded() -> None:
    bench = EngineBench()
    half = "x" * 600_000
    assert await bench.error(f".env FIRST {half}") == ""
    assert "at most 1048576 characters" in await bench.error(f".env SECOND {half}")
    assert "at most 1048576 characters" in await bench.error(f".alias zz=echo {half}")
    await bench.run('.env FIRST ""')
    assert await bench.error(f".alias zz=echo {half}") == ""
