"""URLs taken apart and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.http.url import MAX_URL, HttpUrl, UrlError, follow, split_url


@pytest.mark.parametrize(
    ("text", "address", "login"),
    [
        ("http://h", "http://h/", ("", "")),
        ("HTTP://H.Example/A?b=C#d", "http://h.example/A?b=C", ("", "")),
        ("http://h:80/x", "http://h/x", ("", "")),
        ("https://h:443/x", "https://h/x", ("", "")),
        ("https://h:80/x", "https://h:80/x", ("", "")),
        ("http://h:/x", "http://h/x", ("", "")),
        ("http://[::1]:8080/x", "http://[::1]:8080/x", ("", "")),
        ("http://user:p%40ss@h/x", "http://h/x", ("user", "p@ss")),
        ("http://a@b@h/x", "http://h/x", ("a@b", "")),
        ("http://bücher.example/ü?ü", "http://xn--bcher-kva.example/%C3%BC?%C3%BC", ("", "")),
        ("http://h/a%20b/%2e", "http://h/a%20b/%2e", ("", "")),
        ("http://h?q", "http://h/?q", ("", "")),
    ],
)
def test_a_url_is_asked_for_in_one_form(text: str, address: str, login: tuple[str, str]) -> None:
    url = split_url(text)
    assert url.address == address
    assert (url.user, url.password) == login


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "only http and https"),
        ("h/x", "only http and https"),
        ("ftp://h/x", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("http:/x", "names no host"),
        ("http://:80/", "names no host"),
        ("http://u:geheim@/", "names no host"),
        ("http://h:0/", "does not exist"),
        ("http://h:65536/", "does not exist"),
        ("http://h:-1/", "does not exist"),
        ("http://h:8x/", "does not exist"),
        ("http://[::1/", "does not exist"),
        ("http://-h/", "does not exist"),
        ("http://h%2fi/", "does not exist"),
        ("http://h\\i/", "does not exist"),
        (f"http://{'a' * 300}/", "does not exist"),
        (f"http://{'ü' * 90}/", "does not exist"),
        ("http://h/a b", "blank or a control character"),
        ("http://h/a\r\nHost: evil", "blank or a control character"),
        ("http://h/\0", "blank or a control character"),
        ("http://h/\udc80", "blank or a control character"),
        (f"http://h/{'a' * MAX_URL}", "longer than"),
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(text: str, part: str) -> None:
    with pytest.raises(UrlError, match=part) as refused:
        split_url(text)
    assert "geheim" not in str(refused.value) and "\n" not in str(refused.value)


def test_what_people_see_has_no_secrets() -> None:
    url = split_url("https://me:geheim@h:8443/a/b?key=geheim")
    assert url.public == "https://h:8443/a/b?..."
    assert "geheim" not in url.address.split("?")[0]
    assert len(split_url(f"http://h/{'a' * 5000}").public) < 300


@pytest.mark.parametrize(
    ("start", "location", "address", "user"),
    [
        ("http://me:pw@h/a/b", "c", "http://h/a/c", "me"),
        ("http://me:pw@h/a/b", "/c?d", "http://h/c?d", "me"),
        ("http://me:pw@h/a", "http://h:80/c", "http://h/c", "me"),
        ("http://me:pw@h/a", "//other/c", "http://other/c", ""),
        ("http://me:pw@h/a", "http://h:81/c", "http://h:81/c", ""),
        ("http://me:pw@h/a", "https://h/c", "https://h/c", ""),
        ("http://me:pw@h/a", "http://you:pw@h/c", "http://h/c", "you"),
        ("http://h/a", " /\xc3\xbc ", "http://h/%C3%BC", ""),
        ("http://h/a", "../../c", "http://h/c", ""),
    ],
)
def test_a_redirection_takes_the_password_only_to_the_same_origin(
    start: str, location: str, address: str, user: str
) -> None:
    url = follow(split_url(start), location)
    assert (url.address, url.user) == (address, user)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://h/x", "data:,x", "http://:1", "/a b", "http://[/", "\0"]
)
def test_redirections_to_elsewhere_are_refused(location: str) -> None:
    with pytest.raises(UrlError, match="redirects to where nothing can be fetched"):
        follow(split_url("http://h/a"), location)


URLS = st.one_of(
    st.text(max_size=200),
    st.text(max_size=200).map(lambda text: f"http://{text}"),
    st.text(max_size=200).map(lambda text: f"http://h/{text}"),
    st.builds("https://{}:{}@{}/{}?{}".format, *[st.text(max_size=20)] * 5),
)


@given(URLS)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = split_url(text)
    except UrlError as refused:
        assert "\n" not in str(refused)
        return
    assert url.address.isascii() and url.address.isprintable() and " " not in url.address
    assert split_url(url.address) == url._replace(user="", password="")


@given(URLS)
def test_any_location_leads_to_a_url_or_is_refused(location: str) -> None:
    start = HttpUrl("http", "h", 80, "/a", "", "me", "geheim")
    try:
        url = follow(start, location)
    except UrlError:
        return
    assert url.scheme in ("http", "https")
    assert url.password != "geheim" or url.origin == start.origin
