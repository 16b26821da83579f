"""Which minibus a command line means: one of this host, or with a key one of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.arguments import UsageError
from cli.call import PLACE
from cli.main import dispatch
from cli.subcommands import SUBCOMMANDS
from cli.usage import OVERVIEW, usage

ELSEWHERE = {name for name, flags in SUBCOMMANDS.items() if set(PLACE) <= set(flags)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tap", "--address", "tcp://kn1:9200", "vm/"], "--address needs --key FILE, with the key for that host"),
        (["tap", "--base", "/b", "--key", "f", "vm/"], "--base is for this host, --key for another one"),
        (["--base", "/b", "exec", "--key=f", "quit"], "--base is for this host, --key for another one"),
        (["exec", "--key", "", "quit"], "--key needs a file"),
        (["exec", "--address", "tcp://kn1:9200", "quit"], "--address needs --key FILE"),
        (["down", "--key", "f"], "down takes no --key"),
    ],
)
def test_what_makes_no_sense(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        dispatch("minibus", words)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_without_the_file_it_is_said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"exec": ["version"], "pipe": ["p"], "console": ["web"], "ask": ["vm"], "rate": ["vm/"]}.get(name, [])
    assert dispatch("minibus", [name, "--key", str(tmp_path / "none"), *words]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        f"minibus: there is no file {tmp_path / 'none'} with a key: `minibus key make` makes one\n",
    )


def test_the_help_tells_which_they_are() -> None:
    for name in ELSEWHERE:
        assert "--key FILE" in usage(name)
        assert name in OVERVIEW.rpartition("minimega.")[2].partition("can also")[0]
