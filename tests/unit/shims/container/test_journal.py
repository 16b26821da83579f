"""The warden's journal: replay, shortening, torn lines, a full disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.container.journal import (
    AnyRecord,
    Built,
    Cloned,
    Dropped,
    Ended,
    Intent,
    Journal,
    KillAsked,
    Past,
    Ran,
    Record,
    Started,
    condense,
    parse,
    replay,
)

IDS = st.integers(0, 3)
RECORDS: st.SearchStrategy[AnyRecord] = st.one_of(
    st.builds(Intent, guest_id=IDS, tag=st.just("ab2d")),
    st.builds(Cloned, guest_id=IDS, pid=st.integers(1, 9), start_ticks=st.integers(0, 9)),
    st.builds(Built, guest_id=IDS),
    st.builds(Started, guest_id=IDS),
    st.builds(Ran, guest_id=IDS),
    st.builds(KillAsked, guest_id=IDS),
    st.builds(Ended, guest_id=IDS, exit=st.text(), clean=st.booleans(), oom_killed=st.booleans(), message=st.text()),
    st.builds(Dropped, guest_id=IDS),
)


def test_a_life() -> None:
    records: list[AnyRecord] = [
        Intent(guest_id=1, tag="ab2d"),
        Cloned(guest_id=1, pid=7, start_ticks=9),
        Built(guest_id=1),
        Started(guest_id=1),
        Ran(guest_id=1),
    ]
    assert replay(records)[1] == Past(guest_id=1, tag="ab2d", pid=7, start_ticks=9, built=True, started=True, ran=True)
    assert replay([*records, Dropped(guest_id=1)]) == {}
    again = replay([*records, Intent(guest_id=1, tag="ab2d")])
    assert again[1] == Past(guest_id=1, tag="ab2d")  # a relaunch begins anew


@given(st.lists(RECORDS))
def test_condensing_changes_nothing(records: list[AnyRecord]) -> None:
    past = replay(records)
    assert replay([record for one in past.values() for record in condense(one)]) == past


@given(st.lists(RECORDS), st.integers(0, 2000))
def test_a_torn_file_is_read_up_to_the_tear(records: list[AnyRecord], cut: int) -> None:
    import msgspec

    lines = [msgspec.json.encode(record) + b"\n" for record in records]
    data = b"".join(lines)
    whole = parse(data)
    assert whole == records
    torn = parse(data[: min(cut, len(data))])
    assert torn == records[: len(torn)]


@given(st.binary())
def test_rubbish(data: bytes) -> None:
    assert all(isinstance(record, Record) for record in parse(data))


def test_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "warden")
    journal.write(Intent(guest_id=1, tag="ab2d"))
    journal.write(Intent(guest_id=2, tag="ab2d"))
    journal.write(Dropped(guest_id=1))
    journal.close()
    again = Journal(tmp_path / "warden")
    assert list(again.past) == [2]
    again.close()
    assert (tmp_path / "warden" / "journal").read_bytes().count(b"\n") == 1  # rewritten in its shortest form
    assert not again.is_large


def test_a_full_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(journal._fd)
    os.dup2(full, journal._fd, inheritable=False)
    with pytest.raises(OSError, match="No space left"):
        journal.write(Intent(guest_id=1, tag="ab2d"))
    os.dup2(kept, journal._fd, inheritable=False)
    os.write(kept, b'{"type":"int')  # what did fit
    journal.write(Intent(guest_id=2, tag="ab2d"))
    journal.compact([])  # small, and harmless
    journal.close()
    os.close(full)
    os.close(kept)


def test_the_line_after_a_torn_one_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal._torn = True
    os.write(journal._fd, b'{"type":"int')
    journal.write(Intent(guest_id=2, tag="ab2d"))
    journal.close()
    again = Journal(tmp_path)
    again.close()
    assert list(again.past) == [2]


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is read, and what can be written is appended to it: nothing of the old file is lost."""
    journal = Journal(tmp_path)
    journal.write(Intent(guest_id=1, tag="ab2d"))
    journal.close()
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: len(data) // 2)
        again = Journal(tmp_path)
        assert set(again.past) == {1}
        assert not (tmp_path / "journal.new").exists()
    again.write(Built(guest_id=1))
    again.close()
    last = Journal(tmp_path)
    last.close()
    assert last.past[1].built
