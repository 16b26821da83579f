"""What the files actor remembers, and which place it chooses for a download."""

from __future__ import annotations

import pytest

from actors.files.names import other_name
from actors.files.state import Delete, Deleted, Fetched, FileTable, Origin, Vanished, choose, step
from bus.actor.step import Fail, Input, Recovered
from bus.errors import ConflictError
from bus.messages.base import Ack
from bus.messages.files import DeleteFiles, FetchUrl
from shims.files.file_area import Found, Name
from tests.unit.actors.steps import play, received, replies, the, through_journal, through_snapshot

DISK = ("images", "disk.img")
OTHER = other_name(DISK, "ours-digest")
OURS = Origin("ours-digest", inode=1, size_bytes=5, mtime_ns=100)
THEIRS = Origin("their-digest", inode=1, size_bytes=5, mtime_ns=100)


def file(origin: Origin = OURS, *, is_file: bool = True) -> Found:
    return Found("disk.img", not is_file, is_file, origin.size_bytes, origin.inode, origin.mtime_ns)


CHANGED = file(Origin("", inode=1, size_bytes=5, mtime_ns=101))


@pytest.mark.parametrize(
    ("there", "origins", "under_way", "name", "is_there"),
    [
        ({}, {}, {}, DISK, False),
        ({DISK: file()}, {}, {}, DISK, True),  # put there by a user
        ({DISK: file()}, {DISK: OURS}, {}, DISK, True),  # fetched before
        ({DISK: file()}, {DISK: THEIRS}, {}, OTHER, False),
        ({DISK: file(), OTHER: file()}, {DISK: THEIRS, OTHER: OURS}, {}, OTHER, True),
        ({DISK: CHANGED}, {DISK: THEIRS}, {}, DISK, True),  # a user has changed it since
        ({}, {DISK: THEIRS}, {}, DISK, False),  # deleted since
        ({OTHER: file()}, {OTHER: OURS}, {}, OTHER, True),  # only ours is left
        ({}, {}, {DISK: "their-digest"}, OTHER, False),
        ({}, {}, {DISK: "ours-digest"}, DISK, False),  # to be joined
        ({DISK: file(is_file=False)}, {}, {}, OTHER, False),
        ({DISK: file(is_file=False), OTHER: file()}, {}, {}, OTHER, True),
    ],
)
def test_choose(
    there: dict[Name, Found], origins: dict[Name, Origin], under_way: dict[Name, str], name: Name, is_there: bool
) -> None:
    by_text = {"/".join(key): value for key, value in origins.items()}
    assert choose(DISK, "ours-digest", there.get, by_text, under_way) == (name, is_there)


def test_there_may_be_no_place() -> None:
    there = {DISK: file(is_file=False), OTHER: file(is_file=False)}
    with pytest.raises(ConflictError, match=r"`images/disk\.img` and the name beside it are taken"):
        choose(DISK, "ours-digest", there.get, {}, {})


def test_origins_are_kept_until_the_files_vanish() -> None:
    table = FileTable()
    play(step, table, Fetched(name="a", origin=OURS), Fetched(name="b", origin=THEIRS), Fetched(name="b", origin=OURS))
    assert table.origins == {"a": OURS, "b": OURS}
    assert through_snapshot(table) == table
    play(step, table, Vanished(names=("b", "never")))
    assert table.origins == {"a": OURS}


def test_a_deletion_is_answered_when_it_is_done() -> None:
    table = FileTable()
    effects = step(table, received(DeleteFiles(pattern="x*"), "m1"))
    assert effects == [Delete(msg_id="m1", pattern="x*")]
    assert replies(step(table, Deleted(msg_id="m1"))) == {"m1": Ack()}
    assert table == FileTable()


def test_a_deletion_that_fails_says_why() -> None:
    table = FileTable()
    play(step, table, received(DeleteFiles(pattern="x*"), "m1"))
    fail = the(Fail, step(table, Deleted(msg_id="m1", code="unavailable", error="cannot delete `x`: busy")))
    assert (fail.code, fail.message) == ("unavailable", "cannot delete `x`: busy")
    assert table == FileTable()


def test_a_deletion_goes_on_after_a_crash() -> None:
    table = FileTable()
    play(step, table, received(DeleteFiles(pattern="x*"), "m1"))
    table = through_snapshot(table)
    assert step(table, Recovered()) == [Delete(msg_id="m1", pattern="x*")]


def test_requests_of_others_are_refused() -> None:
    fail = the(Fail, step(FileTable(), received(FetchUrl(url="http://h/x"))))
    assert fail.code == "unknown_type"


@pytest.mark.parametrize(
    "inp",
    [
        Fetched(name="a", origin=OURS, time_s=1.0, seed=2),
        Vanished(names=("a",), time_s=1.0, seed=2),
        Deleted(msg_id="m", code="c", error="e", time_s=1.0, seed=2),
        received(DeleteFiles(pattern="x")),
    ],
)
def test_inputs_survive_the_journal(inp: Input) -> None:
    assert through_journal(inp) == inp
