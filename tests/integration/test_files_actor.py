"""Downloads by the files actor, a process on a real broker, from real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from bus.errors import BusError, ConflictError, InvalidError, UnavailableError
from bus.messages.files import DeleteFiles, LocalFile, TransferChanged
from tests.integration.files_host import WAIT_S, Files, Gate, refused, running_files
from tests.integration.processes import broker_serves, serves, until
from tests.unit.shims.http.web import Web, body, serving, stalls


@pytest.fixture
async def files(base_dir: Path) -> AsyncIterator[Files]:
    async with running_files(base_dir) as files:
        yield files


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


async def test_a_download_is_made_once(files: Files, web: Web) -> None:
    web.routes["/images/disk.img"] = body(b"content")
    for _ in range(2):
        local = await files.fetch(f"{web.url}/images/disk.img")
        assert local == LocalFile(path=f"{files.root}/images/disk.img", size_bytes=7)
    assert Path(local.path).read_bytes() == b"content"
    assert web.times("/images/disk.img") == 1
    assert files.hidden() == []


async def test_a_file_that_a_user_has_put_there_is_the_answer(files: Files, web: Web) -> None:
    (files.root / "x").write_text("mine")
    assert (await files.fetch(f"{web.url}/x")).size_bytes == 4
    assert web.asked == []


async def test_another_url_gets_another_name_also_after_a_crash(files: Files, web: Web) -> None:
    with serving() as other:
        web.routes |= {"/x": body(b"one"), "/x?2": body(b"two")}
        other.routes["/x"] = body(b"three")
        urls = [f"{web.url}/x", f"{web.url}/x?2", f"{other.url}/x"]
        answers = [await files.fetch(url) for url in urls]
        assert [Path(answer.path).read_bytes() for answer in answers] == [b"one", b"two", b"three"]
        assert answers[0].path == f"{files.root}/x"
        files.crash()
        await serves(files.port, "files")
        assert [await files.fetch(url) for url in urls] == answers
        assert len(web.asked) + len(other.asked) == 3


async def test_what_was_deleted_is_downloaded_again_to_its_own_name(files: Files, web: Web) -> None:
    web.routes |= {"/x": body(b"one"), "/x?2": body(b"two")}
    first = await files.fetch(f"{web.url}/x")
    await files.port.ask("files", DeleteFiles(pattern="x"), timeout_s=WAIT_S)
    assert (await files.fetch(f"{web.url}/x?2")).path == first.path


async def test_asked_twice_at_once_it_is_downloaded_once(files: Files, web: Web) -> None:
    web.routes["/x"] = gate = Gate(b"content")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(files.fetch(f"{web.url}/x")) for _ in range(5)]
        named = group.create_task(files.get("x"))
        await files.waits(6)
        gate.open()
    assert {task.result() for task in (*asked, named)} == {LocalFile(path=f"{files.root}/x", size_bytes=7)}
    assert web.times("/x") == 1


async def test_three_at_once_and_the_others_wait(files: Files, web: Web) -> None:
    gates = [Gate(b"content") for _ in range(5)]
    web.routes |= {f"/{number}": gate for number, gate in enumerate(gates)}
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(files.fetch(f"{web.url}/{number}"))
            await files.waits(number + 1)

        async def three_have_begun() -> bool:
            return sum(transfer.done_bytes > 0 for transfer in await files.transfers()) == 3

        await until(three_have_begun)
        transfers = await files.transfers()
        assert [(t.path, t.queued, t.total_bytes) for t in transfers] == [
            ("0", False, 7),
            ("1", False, 7),
            ("2", False, 7),
            ("3", True, -1),
            ("4", True, -1),
        ]
        assert {t.temporary for t in transfers[:3]} == {str(files.hidden()[0].parent)}
        assert len(files.hidden()) == 3
        for gate in gates:
            gate.open()
    assert await files.transfers() == ()


async def test_a_failure_is_told_and_leaves_nothing(files: Files, web: Web) -> None:
    web.routes["/short"] = body(b"short", length=9)
    events = await files.port.subscribe("file/")
    url = f"http://me:geheim@{web.address}"
    shown = f"cannot download {web.url}"
    assert await refused(UnavailableError, files.fetch(f"{url}/a/x?key=geheim")) == f"{shown}/a/x?...: 404 Not Found"
    sentence = f"{shown}/short: the connection ended 4 bytes before the end of the file"
    assert await refused(UnavailableError, files.fetch(f"{url}/short")) == sentence
    assert [path.name for path in files.root.iterdir()] == [".transfer"]
    assert files.hidden() == []
    assert [transfer.error for transfer in await files.transfers()] == [sentence, f"{shown}/a/x?...: 404 Not Found"]
    host = socket.gethostname().partition(".")[0]
    whats = [(await events.next()).topic.removeprefix(f"file/{host}/") for _ in range(4)]
    assert whats == ["started/", "failed/", "started/", "failed/"]
    web.routes["/short"] = body(b"long")
    await files.fetch(f"{url}/short")
    assert [transfer.path for transfer in await files.transfers()] == ["a/x"]
    written = [path for path in files.base.rglob("*") if path.is_file()]
    assert {"said", "journal", "short"} <= {path.name for path in written}
    assert [path for path in written if b"geheim" in path.read_bytes()] == []


async def test_the_world_is_told(files: Files, web: Web) -> None:
    web.routes["/x"] = gate = Gate(b"content")
    events = await files.port.subscribe("file/")
    async with asyncio.TaskGroup() as group:
        group.create_task(files.fetch(f"{web.url}/x", msg_id="the-request"))
        deliveries = [await events.next() for _ in range(2)]
        gate.open()
        deliveries.append(await events.next())
    told = [codec.decode_body(delivery.body) for delivery in deliveries]
    assert all(isinstance(event, TransferChanged) for event in told)
    assert [event.transfer.done_bytes for event in told if isinstance(event, TransferChanged)] == [0, 4, 7]
    assert [delivery.topic.split("/")[2] for delivery in deliveries] == ["started", "progress", "done"]
    assert {delivery.envelope.cause for delivery in deliveries} == {"the-request"}


@pytest.mark.parametrize(
    ("url", "kind", "part"),
    [
        ("file:///etc/passwd", InvalidError, "only http and https"),
        ("http://h/", InvalidError, "names no file"),
        ("http://h/%2e%2e/x", InvalidError, "`..`"),
        ("http://h/.transfer/x", ConflictError, "reserved"),
        ("http://h/taken/x", ConflictError, "`taken` is in the way"),
        ("http://h/out", ConflictError, "leads out of the file area"),
        ("http://h/out/x", ConflictError, "`out` is in the way"),
        ("http://127.0.0.1:1/x", UnavailableError, "connection refused"),
    ],
)
async def test_urls_that_cannot_be_fetched(files: Files, url: str, kind: type[BusError], part: str) -> None:
    (files.root / "taken").touch()
    (files.root / "out").symlink_to("/tmp")
    assert part in await refused(kind, files.fetch(url))
    assert files.hidden() == []


# ---------------------------------------------------------------- the end of the process


async def test_killed_in_the_middle_it_leaves_nothing_half_done(files: Files, web: Web) -> None:
    web.routes["/x"] = stalls(body(b"half", length=8))

    async def ask() -> None:
        with contextlib.suppress(BusError):
            await files.fetch(f"{web.url}/x", msg_id="asked-before")

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())

        async def half_is_there() -> bool:
            return [path.stat().st_size for path in files.hidden()] == [4]

        await until(half_is_there)
        files.crash()
        await serves(files.port, "files")
    assert files.hidden() == []
    assert not (files.root / "x").exists()
    web.routes["/x"] = body(b"complete")
    assert (await files.fetch(f"{web.url}/x", msg_id="asked-before")).size_bytes == 8


async def test_told_to_end_it_does_not_wait_for_servers(files: Files, web: Web) -> None:
    web.routes["/x"] = stalls(body(b"half", length=8))
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(_outcome(files.fetch(f"{web.url}/x")))
        await files.waits(1)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        files.actor.terminate()
        assert await asyncio.to_thread(files.actor.wait, WAIT_S) == 0
        assert loop.time() - started_s < 5.0
    assert asked.result() in ("cancelled", "unreachable")
    assert files.hidden() == []


async def _outcome(asked: Any) -> str:
    try:
        await asked
    except BusError as error:
        return error.code
    return "done"


async def test_a_file_area_that_cannot_be_used_is_one_sentence(base_dir: Path) -> None:
    with ExitStack() as stack:
        files = Files(base_dir, stack)
        files.start("bus.broker")
        await broker_serves(base_dir)
        (base_dir / "files").rmdir()
        (base_dir / "files").write_text("a file")
        assert await asyncio.to_thread(files.start("actors.files").wait, WAIT_S) == 1
    lines = (base_dir / "said").read_text().splitlines()
    assert any(line.endswith(f"the file area {base_dir / 'files'} is not a directory") for line in lines)
    assert not any("Traceback" in line for line in lines)
