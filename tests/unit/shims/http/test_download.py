"""Downloads from servers that behave, and from servers that do not."""

from __future__ import annotations

import base64
import errno
import os
import resource
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.http.download import MAX_REDIRECTS, Download, DownloadError
from shims.http.url import split_url
from tests.unit.shims.http.web import Web, body, drips, redirect, serving, stalls

SHORT_S = 0.2
CERTIFICATE = Path(__file__).with_name("loopback.pem")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def fetch(url: str, file: Path, stall_s: float = 5.0) -> Download:
    download = Download(split_url(url), stall_s)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        download.run(fd)
    finally:
        os.close(fd)
    return download


def refusal(url: str, file: Path, stall_s: float = 5.0) -> str:
    with pytest.raises(DownloadError) as refused:
        fetch(url, file, stall_s)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + end


BIG = os.urandom(1_000_000)


@pytest.mark.parametrize(
    ("answer", "content", "total_bytes"),
    [
        (body(b"content"), b"content", 7),
        (body(b""), b"", 0),
        (body(BIG), BIG, len(BIG)),
        (body(b"content and more", length=7), b"content", 7),
        (chunked(b"con", b"tent"), b"content", -1),
        (chunked(BIG, BIG), BIG + BIG, -1),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end", -1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + body(b"content"), b"content", 7),
        (body(b"content", headers="Content-Encoding: gzip\r\n"), b"content", 7),
        (body(b"content", status="203 From Elsewhere"), b"content", 7),
    ],
)
def test_download(web: Web, file: Path, answer: bytes, content: bytes, total_bytes: int) -> None:
    web.routes["/x"] = answer
    download = fetch(f"{web.url}/x", file)
    assert file.read_bytes() == content
    assert (download.received_bytes, download.total_bytes) == (len(content), total_bytes)


def test_what_is_asked(web: Web, file: Path) -> None:
    web.routes["/a%20b?c=%C3%BC"] = body(b"")
    fetch(f"{web.url}/a%20b?c=ü#d", file)
    (head,) = web.asked
    lines = head.split("\r\n")
    assert lines[0] == "GET /a%20b?c=%C3%BC HTTP/1.1"
    assert {f"Host: {web.address}", "User-Agent: minibus", "Accept-Encoding: identity"} <= set(lines)
    assert "Authorization" not in head


def test_a_keep_alive_server_does_not_keep_us(web: Web, file: Path) -> None:
    web.routes["/x"] = stalls(body(b"content"))
    fetch(f"{web.url}/x", file)
    assert file.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (body(b"", status="404 No Such Thing"), "404 Not Found"),
        (body(b"", status="500 geheim"), "500 Internal Server Error"),
        (body(b"", status="799 What"), "status 799"),
        (body(b"", status="304 Not Modified"), "304 Not Modified"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "302 Found"),
        (body(b"short", length=9), "the connection ended 4 bytes before the end of the file"),
        (b"", "the answer is not HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "the answer is not HTTP"),
        (chunked(b"content", end=b""), "the answer is not HTTP as it should be, or ended too early"),
        (chunked(end=b"zz\r\n"), "the answer is not HTTP"),
        (chunked(end=b"-5\r\nabcdefgh"), "the answer is not HTTP"),
        (body(b"", length=10**15), "no space is left"),
    ],
)
def test_what_goes_wrong_is_one_sentence(web: Web, file: Path, answer: bytes, reason: str) -> None:
    web.routes["/x"] = answer
    assert refusal(f"{web.url}/x", file).startswith(reason)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://127.0.0.1:1/x"])
def test_nobody_there(file: Path, url: str) -> None:
    assert refusal(url, file) == "connection refused"


def test_no_such_host(file: Path) -> None:
    assert refusal("http://no-such-host.invalid/x", file) == "there is no such host"


def test_a_full_disk(web: Web, tmp_path: Path) -> None:
    web.routes["/x"] = chunked(BIG)
    assert refusal(f"{web.url}/x", Path("/dev/full")) == "no space is left for it on the disk"


def test_a_file_that_may_not_grow(web: Web, file: Path) -> None:
    web.routes["/x"] = body(BIG)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        assert refusal(f"{web.url}/x", file) == os.strerror(errno.EFBIG).lower()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


# ---------------------------------------------------------------- redirections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_are_followed(web: Web, file: Path, status: int) -> None:
    web.routes["/x"] = redirect("y?z", f"{status} Elsewhere")
    web.routes["/y?z"] = body(b"content")
    fetch(f"{web.url}/x", file)
    assert file.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "only http and https URLs are fetched"),
        ("ftp://127.0.0.1/x", "only http and https URLs are fetched"),
        ("data:text/plain,x", "only http and https URLs are fetched"),
        ("http://:1/", "names no host"),
        ("/x", f"it redirects more than {MAX_REDIRECTS} times"),
        ("http://127.0.0.1:1/", "connection refused"),
    ],
)
def test_redirections_to_elsewhere(web: Web, file: Path, location: str, reason: str) -> None:
    web.routes["/x"] = redirect(location)
    assert reason in refusal(f"{web.url}/x", file)
    assert web.times("/x") in (1, MAX_REDIRECTS + 1)


def test_the_body_of_a_redirection_is_not_read(web: Web, file: Path) -> None:
    web.routes["/x"] = stalls(b"HTTP/1.1 302 Found\r\nLocation: /y\r\n\r\nendless")
    web.routes["/y"] = body(b"content")
    fetch(f"{web.url}/x", file)
    assert file.read_bytes() == b"content"


def test_the_login_stays_at_its_origin(web: Web, file: Path) -> None:
    with serving() as other:
        web.routes |= {"/x": redirect("/y"), "/y": redirect(f"{other.url}/z")}
        other.routes["/z"] = body(b"content")
        fetch(f"http://me:gehe%C3%BCim@{web.address}/x", file)
        words = base64.b64encode("me:geheüim".encode()).decode()
        assert [f"Authorization: Basic {words}" in head for head in web.asked] == [True, True]
        assert "Authorization" not in other.asked[0]


# ---------------------------------------------------------------- servers that do not come to an end


@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", chunked(b"abc", end=b"")],
)
def test_a_server_that_says_no_more(web: Web, file: Path, begin: bytes) -> None:
    web.routes["/x"] = stalls(begin)
    assert refusal(f"{web.url}/x", file, SHORT_S) == f"no progress for {SHORT_S} seconds"


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (chunked(end=b"0\r\n"), b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"y"),
    ],
)
def test_whatever_a_server_does_it_can_be_ended(web: Web, file: Path, begin: bytes, drop: bytes) -> None:
    web.routes["/x"] = drips(begin, drop)
    download = Download(split_url(f"{web.url}/x"))
    timer = threading.Timer(SHORT_S, download.abort, ("enough",))
    timer.start()
    with file.open("wb") as out, pytest.raises(DownloadError, match="enough"):
        download.run(out.fileno())
    timer.join()


def test_what_was_ended_before_it_began_asks_nobody(web: Web, file: Path) -> None:
    download = Download(split_url(f"{web.url}/x"))
    download.abort("first")
    download.abort("second")
    with file.open("wb") as out, pytest.raises(DownloadError, match="first"):
        download.run(out.fileno())
    assert web.asked == []


# ---------------------------------------------------------------- proxies and TLS


def test_proxies_of_the_environment(web: Web, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    web.routes["http://far.invalid/x"] = body(b"content")
    fetch("http://far.invalid/x", file)
    assert file.read_bytes() == b"content"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # http.client leaves it to the collector
def test_a_proxy_that_refuses(web: Web, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", web.url)
    assert refusal("https://far.invalid/x", file) == "the proxy refuses to connect to it"


@pytest.fixture
def secure() -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with serving(context) as web:
        yield web


def test_tls(secure: Web, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    secure.routes["/x"] = body(BIG)
    fetch(f"{secure.url}/x", file)
    assert file.read_bytes() == BIG
    address = secure.address.replace("127.0.0.1", "localhost")
    assert "its certificate is not trusted" in refusal(f"https://{address}/x", file)


def test_tls_of_somebody_unknown(secure: Web, file: Path) -> None:
    assert refusal(f"{secure.url}/x", file) == "its certificate is not trusted: self-signed certificate"
    assert secure.asked == []


def test_tls_where_there_is_none(web: Web, file: Path) -> None:
    web.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert refusal(f"https://{web.address}/x", file).startswith("no secure connection comes about")


def test_a_stall_under_tls_can_be_ended(secure: Web, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    secure.routes["/x"] = stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    download = Download(split_url(f"{secure.url}/x"))
    timer = threading.Timer(SHORT_S, download.abort, ("enough",))
    timer.start()
    with file.open("wb") as out, pytest.raises(DownloadError, match="enough"):
        download.run(out.fileno())
    timer.join()
