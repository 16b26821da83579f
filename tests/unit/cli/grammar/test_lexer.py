from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.grammar.errors import LexError
from cli.grammar.lexer import MAX_LINE, MAX_WORDS, lex
from cli.grammar.quoting import command_line, quote


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" \t\r\n ", ()),
        ("vm info", ("vm", "info")),
        ("  vm\u00a0info\u2003x\x85y ", ("vm", "info", "x", "y")),
        ("a\nb\r\nc", ("a", "b", "c")),
        ('foo"bar baz"qux', ("foobar bazqux",)),
        ("'a b' \"c d\"", ("a b", "c d")),
        ('echo "it\'s" \'say "hi"\'', ("echo", "it's", 'say "hi"')),
        ('echo ""', ("echo", "")),
        ("''x''", ("x",)),
        (r"a\nb\r\t\\ \" \' \#", ("a\nb\r\t\\", '"', "'", "#")),
        (r""" "\n" '\n' """, ("\n", "\n")),
        ("echo a#b c", ("echo", "a")),
        ("echo a # b\nc", ("echo", "a", "c")),
        ("echo '#' \"#\"", ("echo", "#", "#")),
        ("a\x1cb", ("a\x1cb",)),  # a control character, not white space
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert lex(text).words == words


@pytest.mark.parametrize(
    ("text", "word", "literal"),
    [
        (r"\$", "$", {0}),
        (r"a\$b$c'\$'\$", "a$b$c$$", {1, 5, 6}),
        (r'"\\$x"', "\\$x", set()),
        ("$x", "$x", set()),
    ],
)
def test_escaped_dollar_signs_are_remembered(text: str, word: str, literal: set[int]) -> None:
    (found,) = lex(text).words
    assert found == word
    assert getattr(found, "literal", set()) == literal
    (again,) = lex(quote(found)).words
    assert again == word
    assert getattr(again, "literal", set()) == literal


@pytest.mark.parametrize(("text", "comment"), [("# x", True), ("  #", True), ("", False), ("echo", False)])
def test_a_comment_is_told_from_a_blank_line(text: str, comment: bool) -> None:
    assert lex(text).comment is comment


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('echo "a', 'missing terminal "'),
        ("echo 'a", "missing terminal '"),
        (r"echo \x", "unexpected escaped character: x"),
        ("echo a\\", "expected escape character"),
        (r'echo "\q"', "unexpected escaped character: q"),
        ('"\\', "expected escape character"),
        ("x" * (MAX_LINE + 1), f"command is longer than {MAX_LINE} characters"),
        ("x " * (MAX_WORDS + 1), f"command has more than {MAX_WORDS} words"),
    ],
)
def test_errors(text: str, sentence: str) -> None:
    with pytest.raises(LexError) as error:
        lex(text)
    assert str(error.value) == sentence


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_gives_words_or_one_sentence(text: str) -> None:
    try:
        lex(text)
    except LexError as error:
        assert str(error) and "\n" not in str(error).replace(text, "")


@given(st.lists(st.text(), min_size=2, max_size=6))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    assert list(lex(command_line(words)).words) == words


def test_a_single_argument_is_a_line_already() -> None:
    assert command_line(["vm info"]) == "vm info"
    assert command_line(["echo", "a  b"]) == 'echo "a  b"'


def test_plain_words_are_not_quoted() -> None:
    assert quote("web[1-3],db") == "web[1-3],db"
    assert quote("") == '""'


@pytest.mark.parametrize("piece", ['"', "'", "a ", '""', "\\n", "#", "a'b' "])
def test_a_million_characters_take_bounded_time(piece: str) -> None:
    text = (piece * 1_000_000)[:1_000_000]
    started_s = time.process_time()
    with contextlib.suppress(LexError):
        lex(text)
    assert time.process_time() - started_s < 5
