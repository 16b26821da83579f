"""What is in the file area, asked of the files actor over a real broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.errors import ConflictError, InvalidError, NotFoundError
from bus.messages.files import DeleteFiles, FileEntry, GetFiles, ListFiles, LocalFile, MatchFiles
from tests.integration.files_host import WAIT_S, Files, Gate, refused, running_files
from tests.unit.shims.http.web import Web, serving


@pytest.fixture
async def files(base_dir: Path) -> AsyncIterator[Files]:
    async with running_files(base_dir) as files:
        yield files


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


async def test_looking(files: Files) -> None:
    (files.root / "images").mkdir()
    (files.root / "images" / "disk.img").write_bytes(b"12345")
    (files.root / "images" / os.fsdecode(b"\xff")).touch()
    (files.root / "readme").touch()
    (files.root / "out").symlink_to("/etc")
    assert await files.get("/images/disk.img") == LocalFile(path=f"{files.root}/images/disk.img", size_bytes=5)
    assert await files.get(f"{files.root}/images/../readme") == LocalFile(path=f"{files.root}/readme")
    assert (await files.get("images")).path == f"{files.root}/images"
    assert await refused(NotFoundError, files.get("nothing\x1b")) == "file not found: `nothing\\x1b`"
    assert await refused(InvalidError, files.get("out/passwd")) == "`out/passwd` leads out of the file area"
    assert "names no file" in await refused(InvalidError, files.get("/"))

    listed = (await files.port.ask("files", ListFiles(), timeout_s=WAIT_S)).entries
    assert [(entry.name, entry.is_directory) for entry in listed] == [
        ("images", True),
        ("out", False),
        ("readme", False),
    ]
    inside = (await files.port.ask("files", ListFiles(path="/images/"), timeout_s=WAIT_S)).entries
    assert inside == (FileEntry(name="disk.img", size_bytes=5), FileEntry(name="\\xff", size_bytes=0))
    missing = files.port.ask("files", ListFiles(path="x"), timeout_s=WAIT_S)
    assert await refused(NotFoundError, missing) == "file not found: `x`"


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["images/", "index", "out", "readme"]),
        ("i", ["images/", "index"]),
        ("/i", ["/images/", "/index"]),
        ("images/", ["images/disk.img"]),
        ("images/d", ["images/disk.img"]),
        ("../im", ["../images/"]),
        ("out/", []),
        ("readme/", []),
        (".", []),
        ("x", []),
        ("\0/", []),
        ("a" * 100_000, []),
    ],
)
async def test_completion(files: Files, prefix: str, names: list[str]) -> None:
    (files.root / "images").mkdir()
    (files.root / "images" / "disk.img").touch()
    (files.root / "images" / "a\nb").touch()
    (files.root / "images" / os.fsdecode(b"\xff")).touch()
    (files.root / "index").touch()
    (files.root / "readme").touch()
    (files.root / "out").symlink_to("/etc")
    assert list((await files.port.ask("files", MatchFiles(prefix=prefix), timeout_s=WAIT_S)).names) == names


async def test_patterns(files: Files, web: Web) -> None:
    for name in ("a1", "a2", "b"):
        (files.root / name).touch()

    async def get(pattern: str) -> list[str]:
        return list((await files.port.ask("files", GetFiles(pattern=pattern), timeout_s=WAIT_S)).names)

    assert await get("a?") == ["a1", "a2"]
    assert await get("/b") == ["b"]
    assert await refused(NotFoundError, get("c*")) == "file not found: `c*`"
    web.routes["/a3"] = gate = Gate(b"content")
    async with asyncio.TaskGroup() as group:
        group.create_task(files.fetch(f"{web.url}/a3"))
        await files.waits(1)
        assert await refused(ConflictError, get("a*")) == "file already in flight: `a*`"
        gate.open()
    assert await get("a*") == ["a1", "a2", "a3"]


async def test_deleting(files: Files, base_dir: Path) -> None:
    (base_dir / "keep").mkdir()
    for name in ("a1", "a2", "b/c/d", "e"):
        (files.root / name).parent.mkdir(parents=True, exist_ok=True)
        (files.root / name).touch()
    (files.root / "out").symlink_to("../keep")

    async def delete(pattern: str) -> None:
        await files.port.ask("files", DeleteFiles(pattern=pattern), timeout_s=WAIT_S)

    def left() -> list[str]:
        return sorted(path.name for path in files.root.iterdir() if path.name != ".transfer")

    await delete("nothing*")
    await delete("a*")
    assert left() == ["b", "e", "out"]
    await delete("/b/../../b")
    assert left() == ["e", "out"]
    for refusal in ("", ".", "..", "e/.."):
        assert "names no file" in await refused(InvalidError, delete(refusal))
    assert left() == ["e", "out"]
    await delete("/")
    assert left() == []
    assert (files.root / ".transfer").is_dir() and (base_dir / "keep").is_dir()
