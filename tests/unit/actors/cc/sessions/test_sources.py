"""Files for guests: looked at once for all who get them, and never where others would have to wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from actors.cc.protocol.frames import encode
from actors.cc.sessions.sources import Source, Sources, Version, put_frames
from bus.errors import NotFoundError
from shims.files.file_area import FileArea, Found, Name

GUESTS, FILES = 50, 20


def source(name: str) -> Source:
    return Source(name, Version(1, 5, 0), 0o644, "0" * 64)


async def test_many_guests_wait_for_one_look_that_blocks_nobody(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"f{number}" for number in range(FILES))
    for name in names:
        (base_dir / name).write_text(name)
    looks: Counter[Name] = Counter()
    real = FileArea.find

    def find(self: FileArea, name: Name) -> Found | None:
        assert threading.current_thread() is not threading.main_thread(), "this is where all guests are served"
        looks[name] += 1
        return real(self, name)

    monkeypatch.setattr(FileArea, "find", find)
    sources = Sources(base_dir, "tag")
    for looked in (0, 1):  # first the files are read, then looked at whether they are still the same
        looks.clear()
        first, *others = await asyncio.gather(*(sources.batch(names) for _ in range(GUESTS)))
        assert [one.name for one in first.sources] == list(names)
        assert all(other is first for other in others)
        assert set(looks.values()) <= {looked}
    (base_dir / "f3").unlink()
    with pytest.raises(NotFoundError, match="cannot read `f3`"):
        await sources.batch(names)
    (base_dir / "f3").write_text("is back")
    assert [one.size for one in (await sources.batch(names)).sources][3] == len("is back")
    sources.close()


@pytest.mark.parametrize("name", ["x", "\N{HIRAGANA LETTER A}" * 600, "d/" * 900 + "x"])
def test_lists_of_any_names_fit_into_frames(name: str) -> None:
    sources = tuple(source(f"{name}{number}") for number in range(1000))
    found = put_frames(7, "minimega", sources)
    assert [put.more for put in found] == [True] * (len(found) - 1) + [False]
    assert [put.first for put in found] == [sum(len(put.files) for put in found[:at]) for at in range(len(found))]
    assert [file.name for put in found for file in put.files] == [one.name for one in sources]
    assert all(encode(put) for put in found)  # it raises if one is longer than agents take


async def test_a_list_is_encoded_once(base_dir: Path) -> None:
    (base_dir / "x").write_text("x")
    sources = Sources(base_dir, "tag")
    batch = await sources.batch(("x",))
    (frame,) = batch.frames(1, "minimega")
    assert batch.frames(1, "minimega")[0] is frame and batch.frames(2, "minimega")[0] != frame
    sources.close()
