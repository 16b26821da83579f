"""Names of VMs, the words of `vm launch`, VM targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.language.vm_names import MAX_TARGETS, Target, VmNameError, check_vm_name, parse_launch, parse_target


@pytest.mark.parametrize("name", ["a", "web-1", "A_b.c", "x" * 64, "1a", "...", "-x"])
def test_good_names(name: str) -> None:
    check_vm_name(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("all", "invalid vm name, `all` is a reserved word"),
        ("7", "invalid vm name, `7` is an integer"),
        ("-7", "invalid vm name, `-7` is an integer"),
        ("foo/bar", "invalid vm name, `foo/bar` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("foo bar", "invalid vm name, `foo bar` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("..", "invalid vm name, `..` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("a\n", "invalid vm name, `a\n` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("x" * 65, f"invalid vm name, `{'x' * 61}...` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
    ],
)
def test_bad_names(name: str, sentence: str) -> None:
    with pytest.raises(VmNameError) as caught:
        check_vm_name(name)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "count", "names"),
    [
        ("3", 3, ()),
        ("+3", 3, ()),
        ("a", 1, ("a",)),
        ("foo[0-2],b", 4, ("foo0", "foo1", "foo2", "b")),
        ("10000", 10000, ()),
    ],
)
def test_launch(text: str, count: int, names: tuple[str, ...]) -> None:
    assert parse_launch(text) == (count, names)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "invalid number of vms (must be > 0)"),
        ("-1", "invalid number of vms (must be > 0)"),
        ("10001", "cannot launch 10001 VMs at once: at most 10000 are allowed"),
        ("99999999999", "invalid vm name, `99999999999` is an integer"),
        ("9" * 200, f"invalid vm name, `{'9' * 61}...` is an integer"),
        ("", "no VMs to launch"),
        (",", "no VMs to launch"),
        ("a,b,a", "`a` is specified twice in VMs to launch"),
        ("a,all", "invalid vm name, `all` is a reserved word"),
        ("[1-3]", "invalid vm name, `1` is an integer"),
        ("a[1-1000000]", "a[1-1000000] gives too many names: at most 100000 are allowed"),
        ("a[1-20000]", "cannot launch 20000 VMs at once: at most 10000 are allowed"),
        ("9" * 5000, f"a name has more than 255 characters: {'9' * 20}..."),
        ("a[1", "unterminated '['"),
    ],
)
def test_launch_refused(text: str, sentence: str) -> None:
    with pytest.raises(VmNameError) as caught:
        parse_launch(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "target", "single", "wild"),
    [
        ("a", Target(("a",)), True, False),
        ("a,a", Target(("a",)), True, False),
        ("7", Target(("7",)), True, False),
        ("a[1-2],7", Target(("a1", "a2", "7")), False, False),
        ("all", Target(), False, True),
        ("a,all,b", Target(), False, True),
    ],
)
def test_target(text: str, target: Target, single: bool, wild: bool) -> None:
    parsed = parse_target(text)
    assert (parsed, parsed.single, parsed.wild) == (target, single, wild)


@pytest.mark.parametrize("text", ["", ",", "a[", "a[2-1]"])
def test_target_refused(text: str) -> None:
    with pytest.raises(VmNameError):
        parse_target(text)


@given(st.text(max_size=30) | st.from_regex(r"[a-z0-9\[\],-]{0,20}", fullmatch=True))
def test_any_text_gives_names_or_a_sentence(text: str) -> None:
    try:
        count, names = parse_launch(text)
    except VmNameError as error:
        assert str(error)
        return
    assert count >= 1
    assert len(names) in (0, count)
    for name in names:
        check_vm_name(name)


def test_a_target_names_no_more_vms_than_an_answer_should_have_sentences() -> None:
    assert len(parse_target(f"a[1-{MAX_TARGETS}]").items) == MAX_TARGETS
    with pytest.raises(VmNameError, match="gives too many names: at most 20000 are allowed"):
        parse_target(f"a[0-{MAX_TARGETS}]")
