"""URLs of downloads: taken apart once, checked, and put together again in one form (RFC 3986, RFC 9110)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

MAX_URL: Final = 8192
"""Characters; servers refuse longer ones."""
SHOWN: Final = 200
"""Characters of a URL in a sentence or an event."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
SCHEMES: Final = tuple(DEFAULT_PORTS)

# A name, an IPv4 address, or an IPv6 address in brackets. Names that are not ASCII come as punycode after this.
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}\]")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_KEPT: Final = "%/:@!$&'()*+,;=-._~?"


class UrlError(ValueError):
    """Why this is no URL to download from; `str()` is one sentence without user and password."""


class HttpUrl(NamedTuple):
    """A URL that may be asked for."""

    scheme: str
    host: str
    """In lower case, IPv6 in brackets."""
    port: int
    path: str
    """Percent-encoded, beginning with a slash."""
    query: str
    """Percent-encoded, without the question mark; empty if there is none."""
    user: str = ""
    password: str = ""

    @property
    def address(self) -> str:
        """What is asked for: all of it but user and password."""
        return f"{self.origin}{self.path}{'?' * bool(self.query)}{self.query}"

    @property
    def origin(self) -> str:
        """Scheme, host and port; the port only where it is not the scheme's own."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def public(self) -> str:
        """For people, logs and events: no user, no password, and no query, because signed URLs have their key there."""
        shown = f"{self.origin}{self.path}{'?...' * bool(self.query)}"
        return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."


def split_url(text: str) -> HttpUrl:
    """Take an http or https URL apart; raises UrlError. What is not ASCII in it is encoded; the fragment is dropped."""
    if len(text) > MAX_URL:
        raise UrlError(f"the URL is longer than {MAX_URL} characters")
    if _UNSAFE.search(text):
        raise UrlError("the URL has a blank or a control character in it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UrlError("the URL has a host or port that does not exist") from None
    if parts.scheme not in SCHEMES:
        raise UrlError("only http and https URLs are fetched")
    if port == 0:
        raise UrlError("the URL has a host or port that does not exist")
    return HttpUrl(
        scheme=parts.scheme,
        host=_host(parts.netloc.rpartition("@")[2]),
        port=DEFAULT_PORTS[parts.scheme] if port is None else port,
        path=quote(parts.path or "/", safe=_KEPT),
        query=quote(parts.query, safe=_KEPT),
        user=_text(parts.username),
        password=_text(parts.password),
    )


def follow(url: HttpUrl, location: str) -> HttpUrl:
    """Where a redirection leads; raises UrlError.

    User and password go along only to the same origin: another one must not learn them.
    """
    # Servers send the bytes of a URL as they are; http.client reads them as Latin-1.
    text = location.encode("latin-1", "replace").decode("utf-8", "replace").strip(" \t")
    try:
        if _UNSAFE.search(text):  # `urljoin` would leave some of it out
            raise UrlError("the URL has a blank or a control character in it")
        new = split_url(urljoin(url.address, text))
    except ValueError as error:
        reason = str(error) if isinstance(error, UrlError) else "the URL makes no sense"
        raise UrlError(f"it redirects to where nothing can be fetched: {reason}") from None
    if new.origin == url.origin and not new.user:
        return new._replace(user=url.user, password=url.password)
    return new


def _host(netloc: str) -> str:
    name = netloc if netloc.endswith("]") else netloc.rpartition(":")[0] if ":" in netloc else netloc
    try:
        host = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        host = ""
    if not _HOST.fullmatch(host):
        raise UrlError("the URL names no host" if not name else "the URL has a host or port that does not exist")
    return host.lower()


def _text(encoded: str | None) -> str:
    return unquote_to_bytes(encoded or "").decode("utf-8", "replace")
