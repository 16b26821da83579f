"""Downloads into a real area, from servers that do not come to an end; the clock of stalls runs fast."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.files import downloads as downloads_module
from actors.files.downloads import KEPT_FAILURES, Downloads
from actors.files.state import Origin
from bus import errors
from bus.messages.files import Transfer
from shims.files.file_area import FileArea, Name
from shims.http.url import HttpUrl, split_url
from tests.unit.shims.http.web import Web, body, drips, serving, stalls

STALL_S = 0.2
ROOT = Path(__file__).parents[3]


async def becomes(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - threads make it true
            await asyncio.sleep(0.005)


class Shell:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Transfer]] = []
        self.complete: dict[Name, Origin] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.bugs: list[BaseException] = []

    def transfer_changed(self, what: str, transfer: Transfer, cause: str) -> None:
        """Kept."""
        assert cause == "m1"
        self.told.append((what, transfer))

    def file_complete(self, name: Name, origin: Origin) -> None:
        """Kept."""
        self.complete[name] = origin

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """A task."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if (error := task.exception()) is not None:
            self.bugs.append(error)

    @property
    def whats(self) -> list[str]:
        """What happened, progress aside."""
        return [what for what, _ in self.told if what != "progress"]


class Bench:
    """Downloads, their area, and a server."""

    def __init__(self, root: Path, web: Web) -> None:
        self.area = FileArea(root / "files", "tag1")
        self.area.prepare()
        self.shell = Shell()
        self.web = web
        self.downloads = Downloads(self.area, self.shell, STALL_S)

    def url(self, path: str) -> HttpUrl:
        """On the server."""
        return split_url(f"{self.web.url}/{path}")

    async def fetch(self, path: str) -> None:
        """To the name of its path."""
        await self.downloads.fetch(self.url(path), (path,), path, "m1")

    async def refusal(self, path: str, kind: type[errors.BusError] = errors.UnavailableError) -> str:
        """Why that fails; nothing may be left of it."""
        with pytest.raises(kind) as error:
            await self.fetch(path)
        assert list(self.area.hidden.iterdir()) == []
        assert self.area.find((path,)) is None
        return str(error.value)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as web:
        yield Bench(tmp_path, web)


async def test_a_file_is_noted_before_it_is_in_its_place(bench: Bench) -> None:
    bench.web.routes["/x"] = body(b"content")
    await bench.fetch("x")
    found = bench.area.find(("x",))
    assert found is not None
    assert bench.shell.complete == {("x",): Origin("x", found.inode, found.size_bytes, found.mtime_ns)}
    assert bench.shell.complete["x",].is_of(found)
    assert bench.shell.whats == ["started", "done"]
    assert bench.shell.told[-1][1] == Transfer(source=bench.url("x").public, path="x", done_bytes=7, total_bytes=7)


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
)
async def test_saying_something_is_no_progress(bench: Bench, begin: bytes, drop: bytes) -> None:
    bench.web.routes["/x"] = drips(begin, drop)
    assert (await bench.refusal("x")).endswith(f": no progress for {STALL_S} seconds")
    assert bench.shell.whats == ["started", "failed"]


async def test_a_slow_server_is_waited_for(bench: Bench) -> None:
    """A byte now and then is progress, however long it takes."""
    bench.web.routes["/x"] = drips(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n", b"y")
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await bench.fetch("x")
    assert loop.time() - started_s > 2 * STALL_S
    assert "progress" in [what for what, _ in bench.shell.told]


async def test_what_cannot_be_put_in_its_place_is_removed(bench: Bench) -> None:
    bench.web.routes["/x"] = body(b"content")
    (bench.area.root / "a").touch()
    with pytest.raises(errors.UnavailableError, match="Not a directory"):
        await bench.downloads.fetch(bench.url("x"), ("a", "x"), "x", "m1")
    assert list(bench.area.hidden.iterdir()) == []
    assert bench.shell.whats == ["started", "failed"]


async def test_a_bug_ends_the_wait(bench: Bench) -> None:
    """Whoever asked is told, and the slot is free again."""

    def broken(name: Name, origin: Origin) -> None:
        raise KeyError("a bug")

    bench.web.routes["/x"] = body(b"content")
    bench.shell.file_complete = broken  # type: ignore[method-assign]
    assert "its log has it" in await bench.refusal("x", errors.InternalError)
    await becomes(lambda: [type(bug) for bug in bench.shell.bugs] == [KeyError])
    assert bench.downloads.under_way == {}


async def test_only_the_last_failures_are_kept(bench: Bench) -> None:
    for number in range(KEPT_FAILURES + 3):
        await bench.refusal(f"x{number}")
    shown = [transfer.path for transfer in bench.downloads.transfers()]
    assert shown == [f"x{number}" for number in range(KEPT_FAILURES + 2, 2, -1)]


async def test_too_many_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads_module, "MAX_WAITING", 1)
    bench.web.routes["/x"] = stalls(b"")
    waiting = asyncio.ensure_future(bench.refusal("x"))
    await becomes(lambda: bool(bench.downloads.under_way))
    with pytest.raises(errors.OverloadedError):
        await bench.fetch("y")
    await waiting


async def test_who_gives_up_does_not_take_the_others_along(bench: Bench) -> None:
    bench.web.routes["/x"] = drips(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"y")
    first, second = (asyncio.ensure_future(bench.fetch("x")) for _ in range(2))
    await becomes(lambda: bool(bench.web.asked))
    first.cancel()
    await second
    assert first.cancelled()
    assert bench.web.times("/x") == 1


async def test_closing_tells_everybody_to_ask_again(bench: Bench) -> None:
    paths = [f"x{number}" for number in range(5)]
    bench.web.routes |= {f"/{path}": stalls(body(b"half", length=8)) for path in paths}
    bench.downloads._stall_s = 60.0
    waiting = [asyncio.ensure_future(bench.fetch(path)) for path in paths]
    await becomes(lambda: len(bench.web.asked) == 3)
    await bench.downloads.close()
    assert list(bench.area.hidden.iterdir()) == []
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, errors.CancelledError) and "interrupted" in str(end) for end in ends)
    assert len(bench.web.asked) == 3
    assert bench.shell.whats == ["started"] * 3


def test_a_host_that_downloads_nothing_has_not_loaded_what_it_takes() -> None:
    code = "import sys, actors.files.actor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert not {"http.client", "urllib.request"} & set(loaded.stdout.split())
