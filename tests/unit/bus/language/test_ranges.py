"""Lists of names with ranges: the examples of the specification, and properties."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.language.ranges import MAX_NAMES, RangeError, expand, fold


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (",,", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a,a", ["a", "a"]),
        ("foo[0-3]", ["foo0", "foo1", "foo2", "foo3"]),
        ("foo[0-2,12]", ["foo0", "foo1", "foo2", "foo12"]),
        ("foo[5,1-3,2]", ["foo1", "foo2", "foo3", "foo5"]),
        ("n[08-10]", ["n08", "n09", "n10"]),
        ("n[8-10]", ["n8", "n9", "n10"]),
        ("n[1,02]", ["n1", "n2"]),
        ("n[001-002]", ["n001", "n002"]),
        ("[3-4]", ["3", "4"]),
        ("x[7]", ["x7"]),
        ("a,b[1-2],c", ["a", "b1", "b2", "c"]),
    ],
)
def test_expand(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a[[1]]", "nested '[' at char 2"),
        ("a1]", "unmatched ']' at char 2"),
        ("a[1-2", "unterminated '['"),
        ("a[1]b", "invalid range specification: nothing may follow the ']' of a[1]b"),
        ("a[1][2]", "invalid range specification: nothing may follow the ']' of a[1][2]"),
        ("a[]", "invalid range specification: nothing between '[' and ']'"),
        ("a[1-2-3]", "invalid subrange 1-2-3"),
        ("a[5-3]", "invalid subrange 5-3: it runs backwards"),
        ("a[x]", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("a[1,]", 'strconv.Atoi: parsing "": invalid syntax'),
        ("a[\u0663]", 'strconv.Atoi: parsing "\u0663": invalid syntax'),
        ("a[99999999999999999999]", 'strconv.Atoi: parsing "99999999999999999999": value out of range'),
        ("a[1-1000000]", "a[1-1000000] gives too many names: at most 100000 are allowed"),
        ("a[1-60000],b[1-60000]", "b[1-60000] gives too many names: at most 100000 are allowed"),
        ("x" * 300, f"a name has more than 255 characters: {'x' * 20}..."),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    with pytest.raises(RangeError) as caught:
        expand(text)
    assert str(caught.value) == sentence


def test_the_limit_is_checked_before_names_are_made() -> None:
    begin_s = time.process_time()
    with pytest.raises(RangeError):
        expand("a[1-999999999999999999]")
    assert time.process_time() - begin_s < 1.0
    assert len(expand(f"a[1-{MAX_NAMES}]")) == MAX_NAMES


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["c1"], "c1"),
        (["n1", "n2", "n3", "n7"], "n[1-3,7]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["n8", "n9", "n10"], "n[8-10]"),
        (["n08", "n8", "n9", "n10"], "n[8-9],n[08,10]"),
        (["b", "a", "a2", "a1"], "a,a[1-2],b"),
        (["1", "2"], "[1-2]"),
        (["n007"], "n007"),
        (["x", "x"], "x"),
    ],
)
def test_fold(names: list[str], text: str) -> None:
    assert fold(names) == text


NAMES = st.lists(st.from_regex(r"[a-z0-9._-]{0,3}[0-9]{0,4}", fullmatch=True).filter(bool), max_size=30)


@given(NAMES)
def test_expand_undoes_fold(names: list[str]) -> None:
    folded = fold(names)
    assert sorted(expand(folded)) == sorted(set(names))
    assert fold(expand(folded)) == folded


@given(st.text(alphabet="ab0129[],- \u0663", max_size=40) | st.text(max_size=40))
def test_any_text_gives_names_or_one_sentence(text: str) -> None:
    try:
        names = expand(text, max_names=1000)
    except RangeError as error:
        assert str(error)
        assert "\n" not in str(error) or "\n" in text
    else:
        assert len(names) <= 1000
        assert all(names)
