"""The file area through the product: commands, `file:` and URLs in arguments, crashes, a full disk."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.client import connect
from bus.messages.files import FetchUrl, GetFile
from tests.system.product import Console, Product, one_sentence, product_on, until
from tests.unit.shims.http.web import Web, body, serving, stalls


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture
def area(shared: Product, console: Console) -> Iterator[Path]:
    """The file area, empty before and after."""
    root = shared.base / "files"
    assert visible(root) == []
    yield root
    console.ok("file delete /", "clear vm config")
    assert visible(root) == []
    assert growing(root) == []


@pytest.fixture
def own(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """A minibus for one test."""
    with product_on(base_dir, rootfs) as product:
        yield product


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != ".transfer")


def growing(root: Path) -> list[Path]:
    return [path for path in (root / ".transfer").rglob("*") if path.is_file()]


def test_commands(area: Path, console: Console) -> None:
    assert console.header("file list") == ["dir", "name", "size"]
    assert console.rows("file list") == []
    (area / "images").mkdir()
    (area / "images" / "disk.img").write_bytes(b"12345")
    (area / "readme").touch()
    sizes = [{"dir": row["dir"], "name": row["name"]} for row in console.rows("file list /")]
    assert sizes == [{"dir": "<dir>", "name": "images"}, {"dir": "", "name": "readme"}]
    assert console.rows("file list images") == [{"dir": "", "name": "disk.img", "size": "5"}]
    assert console.rows("file list ../../images/") == console.rows("file list images")
    assert console.error("file list nothing") == "file not found: `nothing`"
    console.ok("file get readme", "file get images", "file get ima*/*.img", f"file get {area}/readme")
    assert console.error("file get *.qcow2") == "file not found: `*.qcow2`"
    console.ok("file delete *.qcow2", "file delete ima*")
    assert visible(area) == ["readme"]
    for line in ("file delete ..", 'file delete ""', "file get /", "file delete ."):
        assert "names no file" in one_sentence(console.error(line))


def test_files_and_urls_in_arguments(area: Path, console: Console, web: Web) -> None:
    (area / "root").mkdir()
    console.ok("vm config filesystem file:root")
    assert console.ok("vm config filesystem") == f"{area}/root"
    console.ok("vm config filesystem file:/../root")
    assert console.ok("vm config filesystem") == f"{area}/root"
    web.routes["/a/root.tar"] = body(b"content")
    for _ in range(2):
        console.ok(f"vm config filesystem {web.url}/a/root.tar")
        assert console.ok("vm config filesystem") == f"{area}/a/root.tar"
    assert web.times("/a/root.tar") == 1
    assert (area / "a" / "root.tar").read_bytes() == b"content"
    assert console.error("vm config filesystem file:nothing") == "file not found: `nothing`"
    assert console.ok("vm config filesystem") == f"{area}/a/root.tar"


def test_what_fails_stays_visible(area: Path, console: Console, web: Web) -> None:
    sentence = f"cannot download {web.url}/missing: 404 Not Found"
    assert console.error(f"vm config filesystem http://me:geheim@{web.address}/missing") == sentence
    (row,) = [row for row in console.rows("file status") if row["filename"] == "missing"]
    assert row == {"filename": "missing", "tempdir": "", "completed": f"failed: {sentence}", "queued": "false"}
    assert visible(area) == []


def test_a_transfer_is_seen_and_can_be_waited_for(area: Path, shared: Product, console: Console, web: Web) -> None:
    web.routes["/x"] = stalls(body(b"half", length=8))
    with shared.console() as waiting:
        waiting.send(f"vm config filesystem {web.url}/x")
        until(lambda: [row["completed"] for row in console.rows("file status") if row["tempdir"]] == ["4/8"], "half")
        (row,) = [row for row in console.rows("file status") if row["tempdir"]]
        assert Path(row["tempdir"]).parent == area / ".transfer"
        assert console.error("file get x") == "file already in flight: `x`"
        console.ok("file delete /")  # what grows is not in the area yet
        assert len(growing(area)) == 1
        web.close()
        (response,) = waiting.receive()
    assert response["Error"].endswith("the connection ended 4 bytes before the end of the file")


async def test_over_the_bus(area: Path, shared: Product, web: Web) -> None:
    web.routes["/x"] = body(b"content")
    async with connect(shared.base) as port:
        fetched = await port.ask("files", FetchUrl(url=f"{web.url}/x"), timeout_s=10)
        assert await port.ask("files", GetFile(name="x"), timeout_s=10) == fetched
    assert fetched.path == f"{area}/x"


def test_a_command_that_waits_for_a_download_outlives_the_actor(own: Product, web: Web) -> None:
    root = own.base / "files"
    web.routes["/x"] = stalls(body(b"half", length=8))
    with own.console() as console:
        console.send(f"vm config filesystem {web.url}/x")
        until(lambda: [path.stat().st_size for path in growing(root)] == [4], "half of the file")
        own.kill("files", signal.SIGSTOP)
        web.routes["/x"] = body(b"complete")
        old = own.kill("files")
        own.replaced("files", old)
        (response,) = console.receive()
        assert response["Error"] == ""
    assert (root / "x").read_bytes() == b"complete"
    assert growing(root) == []


def test_after_the_death_of_all_nothing_half_done_is_left(own: Product, web: Web) -> None:
    root = own.base / "files"
    web.routes |= {"/x": stalls(body(b"half", length=8)), "/y": body(b"y"), "/y?2": body(b"2")}
    with own.console() as console:
        console.ok(f"vm config filesystem {web.url}/y")
        console.send(f"vm config filesystem {web.url}/x")
        until(lambda: len(growing(root)) == 1, "a download")
        for process in ("node", "files", "cli"):
            own.kill(process)
    own.up()
    assert growing(root) == []
    assert visible(root) == ["y"]
    with own.console() as console:
        console.ok(f"vm config filesystem {web.url}/y?2")
        path = Path(console.ok("vm config filesystem"))
    assert path != root / "y" and path.read_bytes() == b"2"
    assert (root / "y").read_bytes() == b"y"


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of 256 KiB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("says_how_long", [True, False])
def test_a_full_disk_is_one_sentence(base_dir: Path, rootfs: Path, web: Web, says_how_long: bool) -> None:
    content = b"x" * 1_000_000
    web.routes["/x"] = body(content) if says_how_long else b"HTTP/1.0 200 OK\r\n\r\n" + content
    web.routes["/small"] = body(b"small")
    root = base_dir / "files"
    with product_on(base_dir, rootfs, up=False) as product, small_disk(root):
        product.up()
        with product.console() as console:
            error = one_sentence(console.error(f"vm config filesystem {web.url}/x"))
            assert error == f"cannot download {web.url}/x: no space is left for it on the disk"
            assert visible(root) == [] and growing(root) == []
            assert shutil.disk_usage(root).used < 100_000
            console.ok(f"vm config filesystem {web.url}/small")
        product.down()
