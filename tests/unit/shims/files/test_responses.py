"""What guests send back: where it goes, and where no name leads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.files.responses import READ_BYTES, Entry, GuestNameError, Responses, guest_path

NS = "minimega"
OUT = (NS, 1, "u1", "stdout")


@pytest.fixture
def responses(tmp_path: Path) -> Iterator[Responses]:
    found = Responses(tmp_path)
    yield found
    found.close_all()


def pages(responses: Responses, ids: list[int] | None = None, *, with_data: bool = True) -> list[Entry]:
    """All pages, one after the other."""
    entries: list[Entry] = []
    cursor = ""
    while (page := responses.page(NS, ids, cursor, with_data=with_data)) is not None:
        assert sum(len(entry.data) for entry in page.entries) <= READ_BYTES
        entries += page.entries
        cursor = page.cursor
        if not cursor:
            break
    return entries


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("/a", (b"a",)),
        ("/a b/\n/ä", (b"a b", b"\n", "ä".encode())),
        (b"/\xff", (b"\xff",)),
        ("/...", (b"...",)),
    ],
)
def test_names_that_a_guest_may_give(name: str | bytes, parts: tuple[bytes, ...]) -> None:
    assert guest_path(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a",
        "a/b",
        "//a",
        "/a/",
        "/a//b",
        "/.",
        "/..",
        "/a/../b",
        "/a\0",
        "/" + "x" * 256,
        "/x" * 64,
        b"\0",
        "\ud800",
    ],
)
def test_names_that_lead_elsewhere_or_nowhere(name: str | bytes) -> None:
    with pytest.raises(GuestNameError):
        guest_path(name)


def test_output_is_written_where_it_belongs(responses: Responses, tmp_path: Path) -> None:
    assert responses.size(OUT) == 0
    assert responses.write(OUT, 0, b"hello") == 5
    assert responses.write(OUT, 3, b"p!") == 2
    assert responses.size(OUT) == 5
    assert (tmp_path / "miniccc_responses" / "1" / "u1" / "stdout").read_bytes() == b"help!"
    other = ("a b/c", 1, "u1", "stdout")
    responses.write(other, 0, b"x")
    assert (tmp_path / "a b%2Fc" / "miniccc_responses" / "1" / "u1" / "stdout").read_bytes() == b"x"


def test_more_outputs_than_may_be_open(responses: Responses) -> None:
    outputs = [(NS, 1, f"u{number}", "stdout") for number in range(300)]
    for round_ in range(2):
        for output in outputs:
            responses.write(output, round_, b"x")
    assert {responses.size(output) for output in outputs} == {2}
    assert len(list(Path("/proc/self/fd").iterdir())) < 250


def test_what_somebody_has_removed_is_made_anew(responses: Responses, tmp_path: Path) -> None:
    responses.write(OUT, 0, b"x")
    (tmp_path / "miniccc_responses" / "1" / "u1" / "stdout").unlink()
    responses.write(OUT, 1, b"y")
    assert (tmp_path / "miniccc_responses" / "1" / "u1" / "stdout").read_bytes() == b"\0y"


def test_links_are_not_followed(responses: Responses, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    responses.check_in(NS, 1, "u1")
    guest = tmp_path / "miniccc_responses" / "1" / "u1"
    (guest / "stdout").symlink_to(outside / "stdout")
    (guest / "etc").symlink_to(outside)
    with pytest.raises(OSError):
        responses.write(OUT, 0, b"x")
    os.close(responses.open_partial(NS, 1, "part"))
    with pytest.raises(OSError):
        responses.place(NS, 1, "part", "u1", (b"etc", b"x"), 0o600)
    assert list(outside.iterdir()) == []
    assert pages(responses) == []


def test_files_grow_aside_and_are_moved_when_they_are_whole(responses: Responses, tmp_path: Path) -> None:
    fd = responses.open_partial(NS, 1, "u1.0")
    os.write(fd, b"data")
    os.close(fd)
    assert pages(responses) == []
    responses.place(NS, 1, "u1.0", "u1", (b"etc", b"x"), 0o6751)
    place = tmp_path / "miniccc_responses" / "1" / "u1" / "etc" / "x"
    assert place.read_bytes() == b"data"
    assert place.stat().st_mode & 0o7777 == 0o751
    os.close(responses.open_partial(NS, 1, "u1.1"))
    with pytest.raises(OSError):
        responses.place(NS, 1, "u1.1", "u1", (b"etc", b"x", b"below a file"), 0o600)
    os.close(responses.open_partial(NS, 1, "u2.1"))
    responses.discard_all(NS, 1, "u1")
    assert [path.name for path in (tmp_path / "miniccc_responses" / "1" / ".partial").iterdir()] == ["u2.1"]
    responses.discard(NS, 1, "u2.1")
    responses.discard(NS, 1, "u2.1")


def test_pages_have_everything_once_in_the_lexical_order_of_paths(responses: Responses) -> None:
    contents: dict[tuple[int, str, str], bytes] = {}
    for number in (10, 2, 1):
        for guest in ("u2", "u1"):
            for name, size in (("stdout", 300_000), ("stderr", 0)):
                data = os.urandom(size)
                contents[number, guest, name] = data
                responses.write((NS, number, guest, name), 0, data)
    responses.note((NS, 1, "u1", "exitcode"), "0")
    big = os.urandom(3 * READ_BYTES)
    contents[2, "u1", "/a/ü\n"] = big
    fd = responses.open_partial(NS, 2, "p")
    os.write(fd, big)
    os.close(fd)
    responses.place(NS, 2, "p", "u1", (b"a", "ü\n".encode()), 0o600)
    found: dict[tuple[int, str, str], bytes] = {}
    for entry in pages(responses):
        where = (entry.id, entry.uuid, entry.name)
        assert entry.offset == len(found.get(where, b""))
        found[where] = found.get(where, b"") + entry.data
    assert found == contents
    assert [where[:2] for where in found][:2] == [(1, "u1"), (1, "u1")]
    order = [f"{number}/{guest}/{name.lstrip('/')}" for number, guest, name in found]
    assert order == sorted(order, key=lambda path: path.split("/"))
    assert {entry.id for entry in pages(responses, [10, 7])} == {10}
    beginnings = responses.page(NS, [2], "", with_data=True, most=5)
    assert beginnings is not None and not beginnings.cursor
    assert [(entry.size, entry.data) for entry in beginnings.entries] == [
        (len(contents[where]), contents[where][:5]) for where in sorted(found, key=list(found).index) if where[0] == 2
    ]
    assert [entry.size for entry in pages(responses, [2], with_data=False)] == [3 * READ_BYTES, 0, 300_000, 0, 300_000]


def test_nothing_is_told_from_an_answer_without_a_word(responses: Responses) -> None:
    assert responses.page(NS, None, "", with_data=True) is None
    responses.check_in(NS, 1, "u1")
    page = responses.page(NS, [1], "", with_data=True)
    assert page is not None and page.entries == []
    assert responses.page(NS, [2], "", with_data=True) is None
    assert responses.page(NS, None, "garbage", with_data=True) is not None


def test_what_is_removed_is_out_of_sight_at_once(responses: Responses, tmp_path: Path) -> None:
    for guest in ("u1", "u2"):
        responses.write((NS, 1, guest, "stdout"), 0, b"x")
    aside = responses.put_aside(NS, [1, 99], "u1")
    assert [entry.uuid for entry in pages(responses)] == ["u2"]
    assert responses.size(OUT) == 0
    assert responses.left_aside() == aside
    responses.destroy(aside)
    assert responses.left_aside() == []
    responses.destroy(responses.put_aside(NS, None))
    responses.destroy(responses.put_aside(NS, None))
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_aside_is_never_mixed_with_what_follows(responses: Responses, tmp_path: Path) -> None:
    responses.archive(NS, "stamp")
    for text in (b"one", b"two", b"three"):
        responses.write(OUT, 0, text)
        responses.archive(NS, "stamp")
    assert responses.size(OUT) == 0
    found = {path.name: (path / "1" / "u1" / "stdout").read_bytes() for path in tmp_path.glob("*.stamp*")}
    prefix = "miniccc_responses.stamp"
    assert found == {prefix: b"one", f"{prefix}-1": b"two", f"{prefix}-2": b"three"}


def test_some_room_is_left_to_others(responses: Responses, tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    assert 0 <= responses.room(NS) < free
