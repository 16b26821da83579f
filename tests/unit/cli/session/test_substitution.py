"""What stands for something else in the arguments of commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import NotFoundError
from bus.messages.files import FetchUrl, FileNames, GetFile, LocalFile, MatchFiles
from bus.messages.namespace import SetConfig
from cli.grammar.lexer import lex
from cli.session.substitution import PreprocessError, lookup, replace_variables, wanted_file
from tests.unit.cli.stand_ins import EngineBench

VALUES = {"A": "1", "LONG_NAME2": "long", "EMPTY": "", "DOLLAR": "$A"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$A", "1"),
        ("x${A}y$LONG_NAME2/z", "x1ylong/z"),
        ("$UNSET-${UNSET}.", "-."),
        ("'$A'", "1"),
        (r"\$A $A", "$A 1"),
        (r"\${A}", "${A}"),
        ("$5 100$ $ $$A", "$5 100$ $ $1"),
        ("${}", ""),
        ("${A", "${A"),
        ("$DOLLAR", "$A"),
    ],
)
def test_variables(text: str, result: str) -> None:
    words = lex(text).words
    assert " ".join(replace_variables(word, lambda name: VALUES.get(name, "")) for word in words) == result


def test_a_bomb_of_variables_is_refused() -> None:
    with pytest.raises(PreprocessError, match="longer than"):
        replace_variables("$A" * 1000, lambda name: "x" * 10_000)


@given(st.text(max_size=200))
def test_any_text_comes_out_as_text(text: str) -> None:
    assert isinstance(replace_variables(text, lambda name: ""), str)


def test_a_session_hides_the_environment_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "server")
    assert lookup({})("OURS") == "server"
    assert lookup({"OURS": "client"})("OURS") == "client"
    assert lookup({"OURS": ""})("OURS") == ""


@pytest.mark.parametrize(
    ("word", "free_text", "wanted"),
    [
        ("file:a/b", False, GetFile(name="a/b")),
        ("file:/a", False, GetFile(name="a")),
        ("file:a", True, GetFile(name="a")),
        ("file:", True, None),
        ("file", False, None),
        ("http://h/x?y", False, FetchUrl(url="http://h/x?y")),
        ("https://h/x", False, FetchUrl(url="https://h/x")),
        ("http://h/x", True, None),
        ("ftp://h/x", False, None),
    ],
)
def test_references(word: str, free_text: bool, wanted: object) -> None:
    assert wanted_file(word, free_text=free_text) == wanted


@pytest.mark.parametrize("word", ["file:", "file:///"])
def test_a_reference_to_nothing_is_refused(word: str) -> None:
    with pytest.raises(PreprocessError, match="names no file"):
        wanted_file(word, free_text=False)


def _bench() -> EngineBench:
    return EngineBench(
        {
            GetFile: lambda asked: (
                LocalFile(path=f"/files/{asked.request.name}")
                if asked.request.name == "disk"
                else NotFoundError(f"file not found: `{asked.request.name}`")
            ),
            FetchUrl: LocalFile(path="/files/fetched"),
            MatchFiles: FileNames(names=("images/", "image.qcow2")),
        }
    )


def _set_words(bench: EngineBench) -> list[tuple[str, ...]]:
    return [asked.request.words for asked in bench.bus.asked if isinstance(asked.request, SetConfig)]


async def test_arguments_are_replaced_and_literals_are_not() -> None:
    bench = _bench()
    await bench.run(".env D disk")
    await bench.run("vm config disk file:$D plain http://host/x")
    assert _set_words(bench) == [("/files/disk", "plain", "/files/fetched")]


async def test_what_cannot_be_replaced_is_neither_run_nor_recorded() -> None:
    bench = _bench()
    assert await bench.error(".annotate false vm config disk file:nope") == "file not found: `nope`"
    assert _set_words(bench) == []
    assert await bench.text("history") == ""


async def test_it_can_be_turned_off_for_one_command_and_for_all() -> None:
    bench = _bench()
    await bench.run(".env A 1")
    assert await bench.text(".preprocess false .annotate false echo $A file:nope") == "$A file:nope"
    assert await bench.text("echo $A") == "1"
    assert await bench.text(".preprocess") == "true"
    await bench.run(".preprocess false")
    assert await bench.text(".preprocess") == "false"
    assert await bench.text("echo $A") == "$A"
    assert await bench.text(".preprocess true echo $A") == "1"


async def test_text_keeps_its_urls() -> None:
    bench = _bench()
    assert await bench.text("echo see http://host/x and file:disk") == "see http://host/x and /files/disk"


async def test_the_environment_is_shown_set_and_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "server")
    bench = _bench()
    assert await bench.text(".env OURS") == "server"
    await bench.run(".env OURS mine")
    shown = await bench.one(".filter key=ours .env")
    assert (shown.header, shown.rows) == (("key", "value"), [("OURS", "mine")])
    await bench.run('.env OURS ""')
    assert await bench.text(".env OURS") == ""
    assert (await bench.one(".filter key=ours .env")).rows == []
    assert os.environ["OURS"] == "server"
    assert "name of a variable" in await bench.error(".env a=b c")


async def test_what_completes_an_argument(tmp_path: Path) -> None:
    bench = _bench()
    await bench.run(".env VERY_OWN_NAME x")
    assert await bench.engine.suggest("echo $VERY_OWN", bench.session) == ["echo $VERY_OWN_NAME "]
    assert await bench.engine.suggest("vm config disk file:im", bench.session) == [
        "vm config disk file:image.qcow2 ",
        "vm config disk file:images/",
    ]
    assert await bench.engine.suggest("vm config disk im", bench.session) == [
        "vm config disk image.qcow2 ",
        "vm config disk images/",
    ]
    (tmp_path / "script.mm").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").touch()
    assert await bench.engine.suggest(f"read {tmp_path}/s", bench.session) == [
        f"read {tmp_path}/script.mm ",
        f"read {tmp_path}/sub/",
    ]
    bench.bus.reactions[MatchFiles] = FileNames(names=(f"{tmp_path}/sub-of-the-area/",))
    assert await bench.engine.suggest(f"vm config disk a {tmp_path}/s", bench.session) == [
        f"vm config disk a {tmp_path}/script.mm ",
        f"vm config disk a {tmp_path}/sub/",
    ]
    assert await bench.engine.suggest(f"read {tmp_path}/nowhere/", bench.session) == []
    assert await bench.engine.suggest(f"vm start {tmp_path}/s", bench.session) == []
    assert await bench.engine.suggest("quit ", bench.session) == []
