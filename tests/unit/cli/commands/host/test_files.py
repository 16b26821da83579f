"""`file`: what its words ask for, and how the answers look."""

from __future__ import annotations

import pytest

from bus.errors import NotFoundError
from bus.messages.base import Ack, Message
from bus.messages.files import (
    DeleteFiles,
    FileEntry,
    FileList,
    FileNames,
    GetFiles,
    GetTransfers,
    ListFiles,
    Transfer,
    TransferList,
)
from cli.commands.host.files import LIST_HEADER, STATUS_HEADER
from tests.unit.cli.stand_ins import EngineBench

ENTRIES = (
    FileEntry(name="images", size_bytes=4096, is_directory=True),
    FileEntry(name="disk.img", size_bytes=5),
    FileEntry(name="ü\n\x1b[2J\u202e", size_bytes=0),
)
TRANSFERS = (
    Transfer(source="http://h/a", path="a", done_bytes=5, total_bytes=10, temporary="/files/.transfer/t"),
    Transfer(source="http://h/b", path="b", done_bytes=7, temporary="/files/.transfer/t"),
    Transfer(source="http://h/c", path="d/c", done_bytes=0, queued=True),
    Transfer(source="http://h/d", path="d", done_bytes=1, error="cannot download http://h/d: 404 Not Found"),
)


def bench() -> EngineBench:
    return EngineBench(
        {
            ListFiles: FileList(entries=ENTRIES),
            GetFiles: FileNames(names=("a",)),
            DeleteFiles: Ack(),
            GetTransfers: TransferList(transfers=TRANSFERS),
        }
    )


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("file list", ListFiles(path="/")),
        ("file list images", ListFiles(path="images")),
        ('file list "a b"', ListFiles(path="a b")),
        ("file get *.img", GetFiles(pattern="*.img")),
        ("file delete /", DeleteFiles(pattern="/")),
        ("file status", GetTransfers()),
    ],
)
async def test_what_is_asked(line: str, request_: Message) -> None:
    tested = bench()
    assert await tested.error(line) == ""
    assert [(asked.to, asked.request) for asked in tested.bus.asked] == [("files@n1", request_)]


async def test_list() -> None:
    response = await bench().one("file list")
    assert response.header == LIST_HEADER == ("dir", "name", "size")
    assert response.rows == [
        ("<dir>", "images", "4096"),
        ("", "disk.img", "5"),
        ("", "ü\\n\\x1b[2J\\u202e", "0"),
    ]


async def test_a_long_list_says_what_is_missing() -> None:
    tested = EngineBench({ListFiles: FileList(entries=ENTRIES[:1], left_out=17)})
    assert (await tested.one("file list")).rows == [("<dir>", "images", "4096"), ("", "... and 17 more", "")]


async def test_an_empty_directory_is_an_empty_table() -> None:
    response = await EngineBench({ListFiles: FileList(entries=())}).one("file list x")
    assert (response.header, response.rows, response.error) == (LIST_HEADER, [], "")


async def test_status() -> None:
    response = await bench().one("file status")
    assert response.header == STATUS_HEADER == ("filename", "tempdir", "completed", "queued")
    assert response.rows == [
        ("a", "/files/.transfer/t", "5/10", "false"),
        ("b", "/files/.transfer/t", "7/?", "false"),
        ("d/c", "", "0/?", "true"),
        ("d", "", "failed: cannot download http://h/d: 404 Not Found", "false"),
    ]


@pytest.mark.parametrize("line", ["file get x", "file delete x"])
async def test_nothing_is_said_when_it_is_done(line: str) -> None:
    response = await bench().one(line)
    assert (response.text, response.header, response.rows, response.error) == ("", None, None, "")


async def test_a_file_that_nobody_has() -> None:
    tested = EngineBench({GetFiles: NotFoundError("file not found: `x`")})
    assert await tested.error("file get x") == "file not found: `x`"
