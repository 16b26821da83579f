"""Frames of the agent's protocol, whole, torn, and among garbage; and the records that are rows of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.agent.commands.records import COMPACT_BYTES, Records
from shims.agent.line.wire import FLUSH, MAX_BODY, PREAMBLE, FrameReader, WireError, decode, decode_frames, encode
from shims.agent.log import Log

MESSAGES = st.lists(
    st.fixed_dictionaries({"type": st.text(max_size=5), "data": st.binary(max_size=200), "n": st.integers(0, 2**60)}),
    max_size=8,
)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes, again and again."""
    found, at, number = [], 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        found.append(data[at : at + size])
        at, number = at + size, number + 1
    return found


@given(MESSAGES, st.lists(st.integers(1, 300), min_size=1, max_size=5), st.binary(max_size=400))
def test_frames_come_whole_however_they_are_cut(
    messages: list[dict[str, object]], sizes: list[int], garbage: bytes
) -> None:
    stream = garbage.replace(PREAMBLE[:1], b"") + PREAMBLE + b"".join(map(encode, messages))
    reader = FrameReader()
    found = [body for piece in pieces(stream, sizes) for body in reader.feed(piece)]
    assert found[0] is None
    assert [decode(body) for body in found[1:] if body is not None] == messages


@given(MESSAGES, MESSAGES, st.integers(0, 500))
def test_session_that_is_cut_off_is_followed_by_the_next(
    first: list[dict[str, object]], second: list[dict[str, object]], cut: int
) -> None:
    broken = (PREAMBLE + b"".join(map(encode, first)))[:cut]
    reader = FrameReader()
    found = reader.feed(broken + FLUSH + PREAMBLE + b"".join(map(encode, second)))
    assert None in found
    last = len(found) - 1 - found[::-1].index(None)
    assert [decode(body) for body in found[last + 1 :] if body is not None] == second


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_garbage_is_never_a_frame_and_never_kept(chunks: list[bytes]) -> None:
    reader = FrameReader()
    for chunk in [PREAMBLE, *chunks]:
        for body in reader.feed(chunk):
            assert body is None or len(body) <= MAX_BODY
    assert len(reader._buffer) <= MAX_BODY + 8 + len(PREAMBLE)


@given(st.binary(max_size=200))
def test_bodies_that_are_no_messages(body: bytes) -> None:
    try:
        message = decode(body)
    except WireError:
        return
    assert isinstance(message["type"], str)


def test_frame_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="no more than 131072 are allowed"):
        encode({"type": "x", "data": bytes(MAX_BODY)})


# --- records


def records_in(directory: Path, boot: str = "boot", uuid: str = "uuid") -> Records:
    return Records(str(directory), boot, uuid, Log("fatal", None))


DONE = {"outcome": "exited", "code": 0}


def test_records_outlive_their_agent(tmp_path: Path) -> None:
    records = records_in(tmp_path)
    records.belong_to("ledger")
    for serial in (1, 2, 3):
        records.begin(serial)
    records.end(1, DONE)
    records.end(2, DONE)
    records.confirm(1)
    records.close()
    again = records_in(tmp_path)
    assert (again.ledger, again.begun, again.ended, again.confirmed) == ("ledger", {3}, {2: DONE}, {1})
    assert [again.knows(serial) for serial in (1, 2, 3, 4)] == [True, True, True, False]
    again.belong_to("ledger")
    assert again.knows(1)
    again.belong_to("other")
    again.close()
    last = records_in(tmp_path)
    assert (last.ledger, last.begun, last.ended, last.confirmed) == ("other", set(), {}, set())
    last.close()


@pytest.mark.parametrize(("boot", "uuid"), [("other", "uuid"), ("boot", "other")])
def test_records_of_another_boot_or_guest_are_forgotten(tmp_path: Path, boot: str, uuid: str) -> None:
    records = records_in(tmp_path)
    records.belong_to("ledger")
    records.begin(1)
    records.close()
    other = records_in(tmp_path, boot, uuid)
    assert (other.ledger, other.knows(1)) == ("", False)
    other.close()


@given(cut=st.integers(0, 400))
def test_records_that_end_anywhere(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("records")
    records = records_in(directory)
    records.belong_to("ledger")
    for serial in range(5):
        records.begin(serial)
        records.end(serial, DONE)
    records.close()
    file = directory / "records"
    content = file.read_bytes()
    file.write_bytes(content[:cut])
    again = records_in(directory)
    assert again.begun | set(again.ended) == set(range(len(again.begun | set(again.ended))))
    assert len(again.begun) <= 1
    again.begin(99)
    again.close()
    last = records_in(directory)
    assert 99 in last.begun
    assert sum(len(body) + 8 for body in decode_frames(file.read_bytes())) == file.stat().st_size
    last.close()


def test_records_do_not_grow_for_ever(tmp_path: Path) -> None:
    records = records_in(tmp_path)
    records.belong_to("ledger")
    for serial in range(12_000):
        records.begin(serial)
        records.end(serial, DONE)
        records.confirm(serial)
    assert (tmp_path / "records").stat().st_size < 2 * COMPACT_BYTES
    records.close()
    again = records_in(tmp_path)
    assert len(again.confirmed) == 12_000
    again.close()


def test_link_in_the_place_of_records_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    directory = tmp_path / "agent"
    directory.mkdir()
    for name in ("records", "records.new"):
        (directory / name).symlink_to(victim)
    records = records_in(directory)
    assert not records.is_durable
    records.begin(1)
    assert records.knows(1)
    assert victim.read_text() == "untouched"
