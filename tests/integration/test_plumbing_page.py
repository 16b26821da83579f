"""docs/plumbing.md names examples that exist, and they do what the page says: in Python, in C, and with the library."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.messages.pipe import DeletePipes, PipeMode, SetPipe, WritePipe
from bus.port import Port
from tests.integration.examples import EXAMPLES, PLUMBING, WAIT_S, c_example, result, running, says
from tests.integration.plumber_host import PlumberHost, plumber_host, until_pipe

PAGE = PLUMBING
LINES = 5_000


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each example as an argument vector; the one in C has been built as the page says."""
    return {
        "python": [sys.executable, "-I", str(EXAMPLES / "pipe_client.py")],
        "c": [str(c_example(tmp_path_factory.mktemp("c")))],
        "library": [sys.executable, str(EXAMPLES / "pipe_library.py")],
    }


@pytest.fixture
async def host(base_dir: Path) -> AsyncIterator[tuple[PlumberHost, Port]]:
    """A broker and a plumber, and a connection."""
    async with plumber_host(base_dir) as found:
        yield found


def numbered(first: int = 1, count: int = LINES) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


@pytest.mark.parametrize("reader", ["python", "c", "library"])
@pytest.mark.parametrize("writer", ["python", "c", "library"])
async def test_what_one_example_writes_another_reads(
    host: tuple[PlumberHost, Port], base_dir: Path, programs: dict[str, list[str]], writer: str, reader: str
) -> None:
    _, port = host
    count = LINES if writer != "python" else 500  # it waits for each line
    async with running(programs[reader], base_dir, "read", "p") as reading:
        await says(reading, "attached")
        async with running(programs[writer], base_dir, "write", "p") as writing:
            await result(writing, numbered(count=count))
        info = await until_pipe(port, "p", writers=0)
        assert (info.count, info.readers) == (count, 1)
        await port.ask("plumber", DeletePipes(pipe="p"), timeout_s=10.0)
        whole = await result(reading) == numbered(count=count)
        assert whole


@pytest.mark.parametrize("tapper", ["python", "c", "library"])
async def test_an_example_taps_all_that_flows(
    host: tuple[PlumberHost, Port], base_dir: Path, programs: dict[str, list[str]], tapper: str
) -> None:
    _, port = host
    pipe = "p" if tapper == "library" else "p 1"
    async with running(programs[tapper], base_dir, "tap", pipe) as tapping:
        await says(tapping, "joined")
        await port.ask("plumber", WritePipe(pipe=pipe, data=b"a\nb\n"), timeout_s=10.0)
        await port.ask("plumber", WritePipe(pipe=pipe, data=b"c\n"), timeout_s=10.0)
        assert (await until_pipe(port, pipe, count=3)).subscribers == 1
        await port.ask("plumber", DeletePipes(pipe=pipe), timeout_s=10.0)
        topic = "pipe/minimega/p/all/" if pipe == "p" else "pipe/minimega/p%201/all/"
        assert (await result(tapping)).decode() == f"{topic} 1: a\n{topic} 2: b\n{topic} 3: c\n"


@pytest.mark.parametrize("kind", ["python", "c"])
async def test_an_example_loses_nothing_when_the_plumber_dies(
    host: tuple[PlumberHost, Port], base_dir: Path, programs: dict[str, list[str]], kind: str
) -> None:
    processes, _ = host
    async with (
        running(programs[kind], base_dir, "read", "p") as reading,
        running(programs[kind], base_dir, "write", "p") as writing,
    ):
        await says(reading, "attached")
        assert writing.stdin is not None
        assert reading.stdout is not None
        seen = 0
        for round_ in range(4):
            writing.stdin.write(numbered(round_ * 100 + 1, 100))
            await writing.stdin.drain()
            while seen < round_ * 100 + 50:
                seen = int((await asyncio.wait_for(reading.stdout.readline(), WAIT_S)).split()[1])
            processes.restart("plumber")
        writing.stdin.close()
        assert await asyncio.wait_for(writing.wait(), WAIT_S) == 0
        numbers = [seen]
        while numbers[-1] < 400:
            numbers.append(int((await asyncio.wait_for(reading.stdout.readline(), WAIT_S)).split()[1]))
    assert set(numbers) == set(range(min(numbers), 401))


async def test_a_reader_of_a_round_robin_pipe_gets_its_share(
    host: tuple[PlumberHost, Port], base_dir: Path, programs: dict[str, list[str]]
) -> None:
    _, port = host
    await port.ask("plumber", SetPipe(pipe="p", mode=PipeMode.ROUND_ROBIN), timeout_s=10.0)
    async with (
        running(programs["c"], base_dir, "read", "p") as one,
        running(programs["python"], base_dir, "read", "p") as two,
    ):
        await says(one, "attached")
        await says(two, "attached")
        await port.ask("plumber", WritePipe(pipe="p", data=numbered(), waits=False), timeout_s=10.0)
        await port.ask("plumber", DeletePipes(pipe="p"), timeout_s=10.0)
        shares = [(await result(process)).count(b"\n") for process in (one, two)]
    assert shares == [LINES / 2, LINES / 2]


def test_the_page_names_each_example_and_its_links_lead_somewhere() -> None:
    page = PAGE.read_text()
    pages = "".join(path.read_text() for path in (*PAGE.parent.glob("*.md"), PAGE.parents[1] / "README.md"))
    assert {path.name for path in EXAMPLES.iterdir()} == set(re.findall(r"\]\((?:docs/)?examples/([^/)]*)", pages))
    titles = [line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
