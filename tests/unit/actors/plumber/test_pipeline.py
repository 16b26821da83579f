"""What a pipeline is made of, and what the end of a stage means; all pure."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.plumber.pipeline import (
    MAX_BYTES,
    MAX_ELEMENTS,
    ElementError,
    Ended,
    Lines,
    PipeStage,
    ProgramStage,
    Segment,
    Stage,
    elements_error,
    name_of,
    needless,
    own_text,
    problem,
    segments,
    stage_of,
)
from bus.messages.pipeline import Element
from bus.pipe_messages import MAX_MESSAGE, MessageError

PROGRAMS = {"grep", "sed", "/bin/cat"}


def element(text: str, *words: str) -> Element:
    return Element(text=text, words=words)


def stage(text: str, *words: str) -> Stage:
    return stage_of(element(text, *words), "exp", PROGRAMS.__contains__)


# ---------------------------------------------------------------- elements


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("foo", (), PipeStage("exp", "foo")),
        ("foo bar", ("foo", "bar"), PipeStage("exp", "foo bar")),
        ("other//foo", (), PipeStage("other", "foo")),
        ("exp//foo", (), PipeStage("exp", "foo")),
        ("pipe:grep", (), PipeStage("exp", "grep")),
        ("pipe:other//grep", (), PipeStage("other", "grep")),
        ("grep", (), ProgramStage(("grep",))),
        ("grep -v x", (), ProgramStage(("grep", "-v", "x"))),
        ('grep "a b"', ("grep", "a b"), ProgramStage(("grep", "a b"))),
        ("/bin/cat", ("/bin/cat",), ProgramStage(("/bin/cat",))),
        ("exec:nonesuch -x", ("exec:nonesuch", "-x"), ProgramStage(("nonesuch", "-x"))),
        ("exec: grep x", ("exec:", "grep", "x"), ProgramStage(("grep", "x"))),
    ],
)
def test_what_an_element_means(text: str, words: tuple[str, ...], expected: Stage) -> None:
    assert stage(text, *words) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pipe:", "the name of a pipe cannot be empty"),
        ("other//", "the name of a pipe cannot be empty"),
        ("a b//c", "`a b` is no namespace: pipes of others are named NAMESPACE//PIPE"),
        ("exec:", "`exec:` needs a program: exec:PROGRAM"),
        ("/bin/none", "no such program: /bin/none"),
        ("bin/none -x", "no such program: bin/none"),
        ("a\x1bb", "the name of a pipe cannot contain control characters: 'a\\x1bb'"),
        ("x" * 201, "the name of a pipe has at most 200 characters, not 201"),
    ],
)
def test_what_no_element_can_be(text: str, sentence: str) -> None:
    with pytest.raises(ElementError) as caught:
        stage(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("exp//foo", "foo"),
        ("other//foo", "other//foo"),
        ("pipe:exp//foo", "pipe:foo"),
        ("xexp//foo", "xexp//foo"),
        ("sed s/a/b/", "sed s/a/b/"),
    ],
)
def test_pipes_of_the_own_namespace_are_shown_without_it(text: str, shown: str) -> None:
    assert own_text(text, "exp") == shown


def test_a_pipeline_is_called_as_its_elements_are_written() -> None:
    assert name_of((element("exp//a"), element('sed "s/a b/c/"'), element("b")), "exp") == 'a sed "s/a b/c/" b'


@pytest.mark.parametrize(
    ("texts", "env", "sentence"),
    [
        (("a",), {}, "a pipeline has at least two elements: plumb SOURCE DESTINATION"),
        (("a",) * (MAX_ELEMENTS + 1), {}, f"a pipeline has at most {MAX_ELEMENTS} elements, not {MAX_ELEMENTS + 1}"),
        (("a", ""), {}, "an element of a pipeline cannot be empty"),
        (("a", " \t"), {}, "an element of a pipeline cannot be empty"),
        (("a", "b\0c"), {}, "an element or variable holds a NUL byte, which no program can be given"),
        (("a", "b"), {"A": "\0"}, "an element or variable holds a NUL byte, which no program can be given"),
        (("a", "b"), {"A=B": ""}, "the name of an environment variable is empty or holds a `=`"),
        (("a", "b" * MAX_BYTES), {}, f"elements and variables are longer than {MAX_BYTES} bytes together"),
        (("a", "b"), {"A": "x"}, ""),
    ],
)
def test_what_is_refused_at_once(texts: tuple[str, ...], env: dict[str, str], sentence: str) -> None:
    assert elements_error([element(text) for text in texts], env) == sentence


# ---------------------------------------------------------------- shape


def made_of(letters: str) -> list[Stage]:
    """`p` for a pipe, `x` for a program."""
    return [PipeStage("exp", str(at)) if letter == "p" else ProgramStage(("x",)) for at, letter in enumerate(letters)]


@pytest.mark.parametrize(
    ("letters", "spans"),
    [
        ("pp", [(0, 0), (1, 1)]),
        ("xx", [(0, 1)]),
        ("pxp", [(0, 0), (1, 1), (2, 2)]),
        ("xxpxxxp", [(0, 1), (2, 2), (3, 5), (6, 6)]),
        ("ppp", [(0, 0), (1, 1), (2, 2)]),
    ],
)
def test_programs_in_a_row_belong_together(letters: str, spans: list[tuple[int, int]]) -> None:
    parts = segments(made_of(letters))
    assert [(part.first, part.last) for part in parts] == spans
    assert [part.pipe is not None for part in parts] == [letters[first] == "p" for first, _ in spans]


@pytest.mark.parametrize(
    ("letters", "stage", "links", "stages"),
    [
        ("pxp", 0, 0, 0),
        ("pxp", 1, 1, 1),
        ("pxp", 2, 2, 2),
        ("pxxp", 2, 1, 2),  # the first program of a row may go on until it writes
        ("xpxxp", 3, 2, 3),
    ],
)
def test_what_only_worked_for_a_stage(letters: str, stage: int, links: int, stages: int) -> None:
    parts: tuple[Segment, ...] = segments(made_of(letters))
    assert needless(parts, stage) == (range(links), range(stages))


# ---------------------------------------------------------------- the end


def ended(status: int, stderr: str = "", *, excused: bool = False, last: bool = False) -> Ended:
    return Ended("prog", status, stderr, excused, last)


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ([], ""),
        ([ended(0, "warning\n")], ""),
        ([ended(2)], "prog: exit status 2"),
        ([ended(2, "one\n two \n\n")], "prog: exit status 2: two"),
        ([ended(-9)], "prog: signal: killed"),
        ([ended(-13)], ""),
        ([ended(-13, last=True)], "prog: signal: broken pipe"),
        ([ended(-15, excused=True)], ""),
        ([ended(0), ended(3), ended(4)], "prog: exit status 3"),
        ([ended(1, "x" * 1000)], "prog: exit status 1: " + "x" * 200),
    ],
)
def test_what_went_wrong(ends: list[Ended], sentence: str) -> None:
    assert problem(ends) == sentence


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"\n")), st.lists(st.integers(0, 200)))
def test_lines_are_whole_and_nothing_is_lost(data: bytes, cuts: list[int]) -> None:
    lines = Lines()
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    pieces = [lines.take(data[start:end]) for start, end in itertools.pairwise(places)]
    assert all(not piece or piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) + lines.rest() == data
    assert b"\n" not in lines.rest()


def test_a_line_that_never_ends_is_refused() -> None:
    lines = Lines()
    lines.take(b"x" * MAX_MESSAGE)
    assert lines.take(b"\n") == b"x" * MAX_MESSAGE + b"\n"
    lines.take(b"x" * MAX_MESSAGE)
    with pytest.raises(MessageError, match="a line is longer than 16777216 bytes"):
        lines.take(b"x")
