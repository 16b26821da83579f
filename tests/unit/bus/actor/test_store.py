"""Journal and snapshot: every way in which they can be cut short."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.actor import store as store_module
from bus.actor.store import Store
from tests.unit.examples import examples


@contextmanager
def opened(directory: Path) -> Iterator[tuple[Store, bytes | None, list[dict[str, Any]]]]:
    """A store with what it held."""
    store = Store(directory)
    try:
        snapshot, records = store.read()
        yield store, snapshot, records
    finally:
        store.close()


def values(records: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Number and content of each record."""
    return [(record["n"], record.get("x")) for record in records]


def test_records_come_back_in_order_with_their_numbers(base_dir: Path) -> None:
    with opened(base_dir / "s") as (store, snapshot, records):
        assert (snapshot, records, store.last) == (None, [], 0)
        for value in ("a", b"\x00", {"k": 1}):
            store.append({"x": value})
    with opened(base_dir / "s") as (store, _, records):
        assert values(records) == [(1, "a"), (2, b"\x00"), (3, {"k": 1})]
        store.append({"x": "later"})
        assert store.last == 4
    assert (base_dir / "s").stat().st_mode & 0o777 == 0o700


def test_a_tail_torn_at_any_byte_costs_only_the_record_it_tears(base_dir: Path) -> None:
    with opened(base_dir / "s") as (store, _, _):
        for value in ("first", "second" * 20, "third"):
            store.append({"x": value})
    whole = (base_dir / "s" / "journal").read_bytes()
    sizes = [len(msgpack.packb({"x": value, "n": n + 1})) for n, value in enumerate(("first", "second" * 20, "third"))]
    ends = [sum(sizes[: n + 1]) for n in range(3)]
    for cut in range(len(whole) + 1):
        (base_dir / "s" / "journal").write_bytes(whole[:cut])
        with opened(base_dir / "s") as (store, _, records):
            complete = sum(cut >= end for end in ends)
            assert [record["n"] for record in records] == [1, 2, 3][:complete]
            store.append({"x": "after"})
        with opened(base_dir / "s") as (_, _, records):
            assert values(records)[-1] == (complete + 1, "after")


def test_records_behind_a_damaged_one_never_come_back(base_dir: Path) -> None:
    with opened(base_dir / "s") as (store, _, _):
        for value in ("first", "second", "third"):
            store.append({"x": value})
    journal = base_dir / "s" / "journal"
    data = journal.read_bytes()
    journal.write_bytes(data.replace(b"\x82\xa1x\xa6second", b"\xc1\xa1x\xa6second"))
    with opened(base_dir / "s") as (store, _, records):
        assert values(records) == [(1, "first")]
        store.append({"x": "sooner"})  # as long as the damaged one, so that the third would follow
    with opened(base_dir / "s") as (_, _, records):
        assert values(records) == [(1, "first"), (2, "sooner")]


@settings(max_examples=examples(100))
@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_after_the_last_record_are_cut_off(tail: bytes) -> None:
    directory = Path(os.environ["PYTEST_STORE_DIR"])
    with opened(directory) as (store, _, _):
        store.append({"x": 1})
    size = (directory / "journal").stat().st_size
    with (directory / "journal").open("ab") as file:
        file.write(tail)
    with opened(directory) as (store, _, records):
        assert records
        store.append({"x": 2})
    with opened(directory) as (_, _, records):
        assert records[-1]["x"] == 2
    assert size > 0


@pytest.fixture(autouse=True)
def _directory_for_examples(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_STORE_DIR", str(base_dir / "examples"))


@pytest.mark.parametrize("written", [0, 1, 7, "error"])
def test_a_full_disk_leaves_all_as_it_was(base_dir: Path, monkeypatch: pytest.MonkeyPatch, written: int | str) -> None:
    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if isinstance(written, str):
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data[:written], offset)

    with opened(base_dir / "s") as (store, _, _):
        store.append({"x": "kept"})
        before = (base_dir / "s" / "journal").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space left"):
                store.append({"x": "lost"})
        assert (base_dir / "s" / "journal").read_bytes() == before
        assert store.last == 1
        store.append({"x": "next"})
    with opened(base_dir / "s") as (_, _, records):
        assert values(records) == [(1, "kept"), (2, "next")]


def test_a_snapshot_replaces_the_records_before_it(base_dir: Path) -> None:
    with opened(base_dir / "s") as (store, _, _):
        store.append({"x": 1})
        store.append({"x": 2})
        store.snapshot(b"state 2")
        assert (base_dir / "s" / "journal").stat().st_size == 0
        store.append({"x": 3})
    with opened(base_dir / "s") as (store, snapshot, records):
        assert (snapshot, values(records)) == (b"state 2", [(3, 3)])
        store.snapshot(b"state 3")
    with opened(base_dir / "s") as (store, snapshot, records):
        assert (snapshot, records, store.last) == (b"state 3", [], 3)


def test_a_crash_between_snapshot_and_truncation_repeats_nothing(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(base_dir / "s") as (store, _, _):
        store.append({"x": 1})
        store.append({"x": 2})
        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", lambda fd, length: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                store.snapshot(b"state 2")
    assert (base_dir / "s" / "journal").stat().st_size > 0
    with opened(base_dir / "s") as (store, snapshot, records):
        assert (snapshot, records, store.last) == (b"state 2", [], 2)
        store.append({"x": 3})
    with opened(base_dir / "s") as (_, snapshot, records):
        assert (snapshot, values(records)) == (b"state 2", [(3, 3)])


def test_a_snapshot_that_cannot_be_written_changes_nothing(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(base_dir / "s") as (store, _, _):
        store.append({"x": 1})
        store.snapshot(b"old")
        store.append({"x": 2})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", full)
            with pytest.raises(OSError, match="No space left"):
                store.snapshot(b"new")
        assert sorted(path.name for path in (base_dir / "s").iterdir()) == ["journal", "snapshot"]
    with opened(base_dir / "s") as (_, snapshot, records):
        assert (snapshot, values(records)) == (b"old", [(2, 2)])


def test_half_a_snapshot_left_by_a_crash_is_not_read(base_dir: Path) -> None:
    with opened(base_dir / "s") as (store, _, _):
        store.append({"x": 1})
    (base_dir / "s" / "snapshot.new").write_bytes(b"\x82\xa1n\x05")
    with opened(base_dir / "s") as (_, snapshot, records):
        assert (snapshot, values(records)) == (None, [(1, 1)])


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x01", msgpack.packb({"n": 3}), msgpack.packb([1, 2])])
def test_a_damaged_snapshot_is_an_error_and_not_an_empty_state(base_dir: Path, content: bytes) -> None:
    Store(base_dir / "s").close()
    (base_dir / "s" / "snapshot").write_bytes(content)
    with pytest.raises(OSError, match="damaged snapshot"), opened(base_dir / "s"):
        pass


def test_records_longer_than_one_read_come_back(base_dir: Path) -> None:
    long = "x" * (3 << 20)
    with opened(base_dir / "s") as (store, _, _):
        for value in (1, long, 2):
            store.append({"x": value})
    with opened(base_dir / "s") as (_, _, records):
        assert values(records) == [(1, 1), (2, long), (3, 2)]


def test_a_snapshot_is_wanted_once_replay_would_be_long(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SNAPSHOT_AFTER_RECORDS", 2)
    with opened(base_dir / "s") as (store, _, _):
        store.append({})
        assert not store.wants_snapshot
        store.append({})
        assert store.wants_snapshot
        store.snapshot(b"")
        assert not store.wants_snapshot
        monkeypatch.setattr(store_module, "SNAPSHOT_AFTER_BYTES", 100)
        store.append({"x": "y" * 100})
        assert store.wants_snapshot


def test_the_disk_is_asked_only_when_there_is_something_new(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    with opened(base_dir / "s") as (store, _, _):
        store.sync()
        store.append({})
        store.sync()
        store.sync()
        assert len(calls) == 1
    store.close()


def test_a_durable_record_is_on_the_disk_or_not_written_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "state")
    store.read()
    synced: list[int] = []
    monkeypatch.setattr("os.fdatasync", synced.append)
    store.append({"input": 1}, durable=True)
    assert len(synced) == 1

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        store.append({"input": 2}, durable=True)
    monkeypatch.undo()
    store.append({"input": 3})
    store.close()
    again = Store(tmp_path / "state")
    assert [record["input"] for record in again.read()[1]] == [1, 3]
    again.close()


def test_a_large_state_is_written_when_as_much_has_happened(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SNAPSHOT_AFTER_RECORDS", 1)
    with opened(base_dir / "s") as (store, _, _):
        store.snapshot(b"x" * 4_000)
        store.append({})
        assert not store.wants_snapshot
    with opened(base_dir / "s") as (store, _, _):
        assert not store.wants_snapshot
        store.append({"x": "y" * 1_000})
        assert store.wants_snapshot
