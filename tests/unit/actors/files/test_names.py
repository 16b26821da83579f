"""What users and URLs may call files."""

from __future__ import annotations

import os.path
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.files.names import (
    MAX_COMPONENT_BYTES,
    MAX_NAME_BYTES,
    area_name,
    covers,
    deletable,
    file_name,
    other_name,
    url_digest,
    url_name,
)
from bus.errors import InvalidError
from shims.files.file_area import quoted
from shims.http.url import UrlError, split_url

FILES = "/base/files"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x", "x"),
        ("/x", "x"),
        ("///x//y/", "x/y"),
        ("./x", "x"),
        ("a/../x", "x"),
        ("../../x", "x"),
        ("../../etc/passwd", "etc/passwd"),
        ("/base/files/x", "x"),
        ("/base/files", ""),
        ("/base/filesystem", "base/filesystem"),
        ("", ""),
        ("/", ""),
        (".", ""),
        ("..", ""),
        ("a b\tc", "a b\tc"),
        ("~", "~"),
    ],
)
def test_area_name(text: str, name: str) -> None:
    assert "/".join(area_name(text, FILES)) == name


@pytest.mark.parametrize("text", ["", "/", "//", ".", "..", "a/..", FILES, f"{FILES}/"])
def test_a_file_has_a_name(text: str) -> None:
    with pytest.raises(InvalidError, match="names no file"):
        file_name(text, FILES)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a\0b", "cannot be part of a name"),
        ("\udc80", "cannot be part of a name"),
        ("ü" * 128, "is too long"),
        ("a/" * 100, "is too deep"),
        ("/".join(["b" * 200] * 11), "is too long"),
        ("a" * 5000, "is too long"),
    ],
)
def test_names_that_no_file_can_have(text: str, part: str) -> None:
    with pytest.raises(InvalidError, match=part) as refused:
        area_name(text, FILES)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["/", "//", "///"])
def test_only_slashes_mean_everything(text: str) -> None:
    assert deletable(text, FILES) == ()


@pytest.mark.parametrize("text", ["", ".", "..", "/..", "/.", "a/..", FILES])
def test_nothing_else_means_everything(text: str) -> None:
    with pytest.raises(InvalidError, match="names no file"):
        deletable(text, FILES)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/x", "x"),
        ("http://h/a/b.img?x=/y", "a/b.img"),
        ("http://h//a///b", "a/b"),
        ("http://h/a%20b/%C3%BC", "a b/ü"),
        ("http://h/ü", "ü"),
        ("http://h/a%2Bb+c", "a+b+c"),
        ("http://h/%252e%252e", "%2e%2e"),
        ("http://h/...", "..."),
        ("http://h/~u/-rf", "~u/-rf"),
    ],
)
def test_the_file_of_a_url(url: str, name: str) -> None:
    assert "/".join(url_name(split_url(url))) == name


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://h", "names no file"),
        ("http://h/?x", "names no file"),
        ("http://h/a/", "names no file"),
        ("http://h/..", "`..`"),
        ("http://h/a/../b", "`..`"),
        ("http://h/%2e%2e/b", "`..`"),
        ("http://h/%2E./b", "`..`"),
        ("http://h/./b", "`.`"),
        ("http://h/..%2f..%2fetc/passwd", "hidden slash"),
        ("http://h/%2fetc%2fpasswd", "hidden slash"),
        ("http://h/a%00b", "cannot be part of a name"),
        ("http://h/a%0ab", "cannot be part of a name"),
        ("http://h/a%1b[2J", "cannot be part of a name"),
        ("http://h/%ff", "not UTF-8"),
        ("http://h/%ed%b2%80", "not UTF-8"),
        (f"http://h/{'a' * 256}", "too long"),
        ("http://h/" + "/".join(["a"] * 65), "too deep"),
        ("http://me:geheim@h/?key=geheim", "names no file"),
    ],
)
def test_urls_that_name_no_file(url: str, part: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(part)) as refused:
        url_name(split_url(url))
    assert "geheim" not in str(refused.value)


@given(st.text(max_size=300))
def test_no_name_leads_out(text: str) -> None:
    try:
        name = area_name(text, FILES)
    except InvalidError as refused:
        assert str(refused).isprintable()
        return
    path = os.path.normpath("/".join((FILES, *name)))
    assert path == FILES or path.startswith(f"{FILES}/")
    assert len(path.encode()) < 4096 - 1000


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            ["..", ".", "/", "%2e", "%2f", "%2F", "%5c", "%00", "%", "%2", "a", "%ff", "ü", "\\", "//", "%25"]
        ),
        st.text(max_size=5),
    ),
    max_size=30,
).map("".join)


@given(HOSTILE)
def test_no_url_leads_out(path: str) -> None:
    try:
        name = url_name(split_url(f"http://h/{path}"))
    except (InvalidError, UrlError) as refused:
        assert "\n" not in str(refused)
        return
    assert name and all(part not in ("", ".", "..") and "/" not in part and "\0" not in part for part in name)
    path = "/".join((FILES, *name))
    assert os.path.normpath(path) == path
    assert len("/".join(name).encode()) <= MAX_NAME_BYTES


@given(HOSTILE)
def test_the_other_name_is_as_good(path: str) -> None:
    try:
        name = url_name(split_url(f"http://h/{path}"))
    except (InvalidError, UrlError):
        return
    other = other_name(name, "0123456789abcdef")
    assert other != name and other[:-1] == name[:-1]
    assert "/" not in other[-1] and len(other[-1].encode()) <= MAX_COMPONENT_BYTES


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("disk.qcow2", "disk-0123456789.qcow2"),
        ("a.tar.gz", "a.tar-0123456789.gz"),
        ("noext", "noext-0123456789"),
        (".hidden", ".hidden-0123456789"),
        ("ü" * 127, "ü" * 122 + "-0123456789"),
        ("a." + "b" * 253, "a." + "b" * 242 + "-0123456789"),
    ],
)
def test_other_name(name: str, other: str) -> None:
    assert other_name(("d", name), "0123456789abcdef") == ("d", other)


def test_urls_are_told_apart_by_all_but_the_login() -> None:
    same = {url_digest(split_url(url)) for url in ("http://h/x", "http://u:p@H:80/x", "http://h/x#f")}
    assert len(same) == 1
    different = (
        "http://h/x",
        "https://h/x",
        "http://h:81/x",
        "http://i/x",
        "http://h/y",
        "http://h/x?a",
        "http://h/x?b",
    )
    assert len({url_digest(split_url(url)) for url in different}) == len(different)


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [("a/*", "a/b", True), ("*", "a/b", False), ("a/[b]", "a/b", True), ("a/b", "a/c", False)],
)
def test_covers(pattern: str, name: str, yes: bool) -> None:
    assert covers(tuple(pattern.split("/")), tuple(name.split("/"))) is yes


@given(st.text())
def test_foreign_text_in_a_sentence_is_short_and_harmless(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable() and len(shown) < 1300
    assert shown.startswith("`") and shown.endswith("`")
