"""The file area on a real file system: what is in it, and that nothing leads out of it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shims.files.file_area import HIDDEN, AreaError, FileArea, Name


@pytest.fixture
def area(tmp_path: Path) -> FileArea:
    """An area beside a secret."""
    (tmp_path / "secret").write_text("geheim")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a").write_text("geheim")
    area = FileArea(tmp_path / "files", "tag1")
    area.prepare()
    root = area.root
    (root / "images").mkdir()
    (root / "images" / "disk.img").write_bytes(b"12345")
    (root / "images" / "deep").mkdir()
    (root / "a[1].txt").write_text("brackets")
    (root / "readme").write_text("r")
    return area


@pytest.fixture(autouse=True)
def _secrets_stay(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does inside, what is outside is untouched."""
    yield
    assert (tmp_path / "secret").read_text() == "geheim"
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["a"]


def write(area: FileArea, content: bytes = b"new") -> str:
    return area.grow(lambda fd: os.write(fd, content)).temporary


def test_find(area: FileArea) -> None:
    found = area.find(("images", "disk.img"))
    assert found is not None
    assert (found.name, found.size_bytes, found.is_file, found.is_directory) == ("disk.img", 5, True, False)
    assert found.inode == (area.root / "images" / "disk.img").stat().st_ino
    top = area.find(())
    assert top is not None and top.is_directory
    for absent in [("x",), ("readme", "x"), ("images", "x", "y"), ("x" * 300,), (HIDDEN,), (HIDDEN, "tag1")]:
        assert area.find(absent) is None


@pytest.mark.parametrize(
    "name", [("..",), ("images", "..", "..", "secret"), ("",), ("a/../../secret",), ("\0",), (".",)]
)
def test_names_that_are_no_names_are_refused(area: FileArea, name: Name) -> None:
    uses: list[Callable[[Name], object]] = [area.find, area.entries, area.path, area.match, area.delete]
    uses += [area.check_place, lambda name: area.place(write(area), name)]
    for use in uses:
        with pytest.raises(AreaError):
            use(name)


@pytest.mark.parametrize("target", ["../secret", "{outside}/secret", "/etc/passwd", "images/../../secret", "{outside}"])
def test_links_that_lead_out_are_not_followed(area: FileArea, target: str) -> None:
    (area.root / "link").symlink_to(target.format(outside=area.root.parent))
    with pytest.raises(AreaError, match="`link` leads out of the file area"):
        area.find(("link",))
    (listed,) = [entry for entry in area.entries(()) or () if entry.name == "link"]
    assert not listed.is_file and listed.size_bytes != len("geheim")


def test_links_that_stay_inside_are_followed_to_look(area: FileArea) -> None:
    (area.root / "absolute").symlink_to(area.root / "images")
    (area.root / "relative").symlink_to("absolute/disk.img")
    (area.root / "dangling").symlink_to("nowhere")
    (area.root / "loop").symlink_to("loop")
    (area.root / "hidden").symlink_to(HIDDEN)
    found = area.find(("relative",))
    assert found is not None and (found.name, found.size_bytes) == ("relative", 5)
    assert [entry.name for entry in area.entries(("absolute",)) or ()] == ["deep", "disk.img"]
    assert [area.find((name,)) for name in ("dangling", "loop", "hidden")] == [None] * 3
    sizes = {entry.name: (entry.is_directory, entry.size_bytes) for entry in area.entries(()) or ()}
    assert sizes["relative"] == (False, 5)
    assert sizes["absolute"][0] and not sizes["dangling"][0]


def test_an_area_may_itself_be_a_link(tmp_path: Path, area: FileArea) -> None:
    (tmp_path / "other").symlink_to("files")
    other = FileArea(tmp_path / "other", "tag2")
    other.prepare()
    assert other.find(("readme",)) is not None
    assert other.path(("readme",)) == str(tmp_path / "other" / "readme")


def test_entries(area: FileArea) -> None:
    assert [entry.name for entry in area.entries(()) or ()] == ["a[1].txt", "images", "readme"]
    assert [entry.name for entry in area.entries(("readme",)) or ()] == ["readme"]
    assert area.entries(("images", "deep")) == []
    assert area.entries(("nowhere",)) is None
    assert area.entries((HIDDEN,)) is None


def test_names_of_any_bytes_are_listed(area: FileArea) -> None:
    (area.root / "images" / os.fsdecode(b"\xff\n")).touch()
    assert "\udcff\n" in [entry.name for entry in area.entries(("images",)) or ()]


def test_a_socket_is_listed_and_not_opened(area: FileArea, base_dir: Path) -> None:
    short = FileArea(base_dir / "files", "tag1")
    short.prepare()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short.root / "socket"))
        os.mkfifo(short.root / "fifo")
        assert [(e.name, e.is_file, e.is_directory) for e in short.entries(()) or ()] == [
            ("fifo", False, False),
            ("socket", False, False),
        ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("readme", ["readme"]),
        ("*", ["a[1].txt", "images", "readme"]),
        ("*/*", ["images/deep", "images/disk.img"]),
        ("r?a*", ["readme"]),
        ("[a-c]*", ["a[1].txt"]),
        ("[^a-c]*", ["images", "readme"]),
        ("[!a-c]*", ["images", "readme"]),
        ("a[1].txt", ["a[1].txt"]),  # there as it stands: means just that
        ("images/*.img", ["images/disk.img"]),
        ("nothing*", []),
        ("readme/*", []),
        ("*/*/*", []),
        (HIDDEN, []),
        (f"{HIDDEN}/*", []),
        (".*", []),
        (".*/*", []),
        ("**", ["a[1].txt", "images", "readme"]),
        ("[", []),
    ],
)
def test_match(area: FileArea, pattern: str, names: list[str]) -> None:
    assert ["/".join(name) for name in area.match(tuple(pattern.split("/")))] == names


def test_patterns_do_not_follow_links(area: FileArea) -> None:
    (area.root / "out").symlink_to("../secrets")
    assert area.match(("*", "a")) == []
    assert area.match(("out", "*")) == []
    assert area.match(("out",)) == [("out",)]


def test_delete(area: FileArea) -> None:
    (area.root / "out").symlink_to("../secrets")
    (area.root / "images" / "up").symlink_to("../..")
    area.delete(("out",))
    area.delete(("readme",))
    area.delete(("images",))
    area.delete(("nothing",))
    area.delete(("nothing", "below"))
    assert [entry.name for entry in area.entries(()) or ()] == ["a[1].txt"]


def test_delete_does_not_pass_through_a_link(area: FileArea) -> None:
    (area.root / "out").symlink_to("../secrets")
    with pytest.raises(OSError):
        area.delete(("out", "a"))


@pytest.mark.parametrize("name", [(), (HIDDEN,), (HIDDEN, "tag1")])
def test_the_area_and_its_hidden_directory_stay(area: FileArea, name: Name) -> None:
    for use in (area.delete, area.check_place):
        with pytest.raises(AreaError, match="is reserved"):
            use(name)
    assert area.hidden.is_dir()


def test_a_file_grows_out_of_sight_and_is_put_in_its_place(area: FileArea) -> None:
    seen: list[list[Path]] = []

    def grow(fd: int) -> None:
        os.write(fd, b"new")
        seen.append(list(area.hidden.iterdir()))

    old = os.umask(0o077)
    try:
        grown = area.grow(grow)
        area.place(grown.temporary, ("a", "b", "file"))
    finally:
        os.umask(old)
    assert len(seen[0]) == 1 and list(area.hidden.iterdir()) == []
    path = area.root / "a" / "b" / "file"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(path.parents[1].stat().st_mode) == 0o755
    assert stat.S_IMODE(area.hidden.stat().st_mode) == 0o700
    found = area.find(("a", "b", "file"))
    assert found is not None
    assert found[3:] == grown.found[3:]  # size, inode and time


def test_what_somebody_else_has_put_there_stays(area: FileArea) -> None:
    area.place(write(area), ("readme",))
    assert (area.root / "readme").read_text() == "r"
    assert list(area.hidden.iterdir()) == []


def test_a_failed_file_leaves_nothing(area: FileArea) -> None:
    def fail(fd: int) -> None:
        os.write(fd, b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        area.grow(fail)
    assert list(area.hidden.iterdir()) == []
    area.discard(write(area))
    area.discard("not there")
    assert list(area.hidden.iterdir()) == []


def test_no_file_is_put_outside(area: FileArea) -> None:
    (area.root / "out").symlink_to("../secrets")
    with pytest.raises(AreaError, match="`out` is in the way: it is not a directory"):
        area.check_place(("out", "b", "c"))
    temporary = write(area)
    with pytest.raises(OSError):
        area.place(temporary, ("out", "b"))


@pytest.mark.parametrize(("name", "part"), [(("readme", "x"), "`readme` is in the way"), (("images", "a", "x"), "")])
def test_places_are_looked_at_before(area: FileArea, name: Name, part: str) -> None:
    if not part:
        area.check_place(name)
        return
    with pytest.raises(AreaError, match=part):
        area.check_place(name)


def test_prepare_removes_what_a_crash_has_left_and_nothing_of_others(area: FileArea) -> None:
    write(area)
    other = FileArea(area.root, "tag2")
    other.prepare()
    write(other)
    area.prepare()
    assert list(area.hidden.iterdir()) == []
    assert len(list(other.hidden.iterdir())) == 1


@pytest.mark.parametrize("kind", ["file", "link"])
def test_prepare_takes_away_what_is_in_the_place_of_the_hidden_directory(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("geheim")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a").write_text("geheim")
    root = tmp_path / "files"
    root.mkdir()
    if kind == "file":
        (root / HIDDEN).write_text("x")
    else:
        (root / HIDDEN).symlink_to("../secrets")
    area = FileArea(root, "a")
    area.prepare()
    assert area.hidden.is_dir() and not (root / HIDDEN).is_symlink()


def test_the_hidden_directory_comes_back(area: FileArea) -> None:
    area.hidden.rmdir()
    area.place(write(area), ("new",))
    assert (area.root / "new").read_bytes() == b"new"


def test_the_area_comes_back(area: FileArea) -> None:
    shutil.rmtree(area.root)
    assert area.entries(()) == []
    shutil.rmtree(area.root)
    assert area.match(("*",)) == []
    shutil.rmtree(area.root)
    area.check_place(("a", "new"))
    shutil.rmtree(area.root)
    area.place(write(area), ("a", "new"))
    assert (area.root / "a" / "new").read_bytes() == b"new"


def test_an_area_that_cannot_be_made_is_no_empty_one(area: FileArea) -> None:
    shutil.rmtree(area.root)
    area.root.write_text("a file")
    for use in (lambda: area.entries(()), lambda: area.match(("*",)), area.prepare):
        with pytest.raises(OSError):
            use()
