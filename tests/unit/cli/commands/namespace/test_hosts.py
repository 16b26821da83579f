"""`ns hosts`, `ns add-hosts`, `ns del-hosts` and `ns run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.stand_ins import EngineBench


@pytest.mark.parametrize("hosts", ["localhost", "n1", "all", "n1,localhost", "n[1-1]"])
async def test_hosts_that_are_there_can_be_added(hosts: str) -> None:
    bench = EngineBench()
    assert await bench.text(f"ns add-hosts {hosts}") == ""
    assert await bench.text("ns hosts") == "n1"


@pytest.mark.parametrize(
    ("hosts", "error"),
    [
        ("n9", "unknown host: `n9`"),
        ("n[1-2]", "unknown host: `n2`"),
        ("localhost,x", "unknown host: `x`"),
        ("n[1-", "invalid hosts -- unterminated '['"),
        ('""', "invalid hosts -- the list is empty"),
    ],
)
async def test_hosts_that_are_not_cannot(hosts: str, error: str) -> None:
    assert await EngineBench().error(f"ns add-hosts {hosts}") == error


async def test_hosts_that_are_not_there_can_be_removed() -> None:
    assert await EngineBench().text("ns del-hosts n9,m[1-3]") == ""


@pytest.mark.parametrize("hosts", ["localhost", "n1", "all", "n[1-3]", "n9,n1"])
async def test_the_only_one_cannot(hosts: str) -> None:
    bench = EngineBench()
    assert await bench.error(f"ns del-hosts {hosts}") == "n1 cannot be removed: it is the only host of the namespace"
    assert await bench.error("ns del-hosts n[1-") == "invalid hosts -- unterminated '['"
    assert await bench.text("ns hosts") == "n1"


@pytest.mark.parametrize("prefix", ["ns run ", "namespace exp ns run ", "ns run .annotate true "])
async def test_any_command_on_all_hosts(prefix: str) -> None:
    bench = EngineBench()
    assert await bench.text(f"{prefix}echo a") == "a"
    assert bench.session.history.lines == (f"{prefix}echo a",)


async def test_its_namespace_is_the_one_of_the_client_and_stays_it() -> None:
    bench = EngineBench()
    await bench.run("namespace exp")
    await bench.run("ns run vm info")
    assert bench.bus.asked[-1].namespace == "exp"
    await bench.run("ns run namespace other")
    assert bench.session.namespace == "exp"


@pytest.mark.parametrize(
    "command",
    [
        "read {path}",
        "vm launch",
        "vm launch container a",
        "ns schedule",
        "ns run echo a",
        "namespace exp vm launch container 'a b'",
        ".annotate false read {path}",
    ],
)
async def test_what_acts_for_all_hosts_is_not_run_on_each(tmp_path: Path, command: str) -> None:
    (tmp_path / "script").write_text("echo never\n")
    bench = EngineBench()
    line = command.format(path=tmp_path / "script").replace("'", '"')
    assert await bench.error(f"ns run {line}") == f"cannot run `{line}` using `ns run`"
    assert bench.bus.asked == []
