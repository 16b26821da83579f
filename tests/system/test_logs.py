"""`log` through the product: files, filters, rings, syslog, in all its processes."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import Console, Product, until

LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARN|ERROR|FATAL) \w+\.py:\d+: \w+ actor=\w+( \S+=.*)?")


@pytest.fixture
def console(shared: Product) -> Iterator[Console]:
    """A connection; logging is as it was at the start before and afterwards."""
    with shared.console() as console:
        console.ok("clear log")
        yield console
        console.ok("clear log")
        assert console.ok("log level") == "info"


def said(path: Path) -> list[str]:
    """The lines of a log file."""
    return path.read_text().splitlines()


def test_what_is_set_is_shown_and_cleared(console: Console, shared: Product) -> None:
    path = shared.base / "files" / "a" / "log"
    console.ok("log level warn", "log stderr false", "log file a/log", "log filter x", "log filter 'y z'")
    assert [console.ok(f"log {name}") for name in ("level", "stderr", "file", "filter")] == [
        "warn",
        "false",
        str(path),
        "[x y z]",
    ]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o660, 0o755)
    console.ok("clear log filter")
    assert console.ok("log filter") == "[]"
    assert console.ok("log level") == "warn"
    console.ok("clear log")
    assert [console.ok(f"log {name}") for name in ("level", "stderr", "file", "filter")] == ["info", "true", "", "[]"]
    path.unlink()
    path.parent.rmdir()


def test_every_line_of_a_file_has_minimegas_form(console: Console, shared: Product, tmp_path: Path) -> None:
    path = tmp_path / "log"
    console.ok(f"log file {path}", "log level debug", "vm info")
    until(lambda: any("actor=vm" in line for line in said(path)), "a record of vm")
    assert [line for line in said(path) if not LINE.fullmatch(line)] == []
    assert "DEBUG" in {line.split()[2] for line in said(path)}


def test_a_restarted_process_obeys_too(console: Console, shared: Product, tmp_path: Path) -> None:
    path = tmp_path / "log"
    console.ok(f"log file {path}", "log level debug", "log filter type=")
    old = shared.kill("scheduler")
    shared.replaced("scheduler", old)
    shared.everything_answers()
    until(lambda: any("recovered actor=scheduler" in line for line in said(path)), "the record of its start")
    assert any('child_ended actor=node child=scheduler how="killed by SIGKILL"' in line for line in said(path))
    assert not any("type=" in line for line in said(path))


def test_the_ring_has_the_records_of_all_processes(console: Console, shared: Product, tmp_path: Path) -> None:
    console.ok("log ring 200", "log level debug")
    old = shared.kill("warden")  # its successor logs, and the node keeps that
    shared.replaced("warden", old)
    shared.everything_answers()
    console.ok("vm info")
    shown = console.ok("log ring").splitlines()
    actors = {line.partition(" actor=")[2].split(" ")[0] for line in shown}
    assert {"node", "warden", "vm", "namespace", "cli"} <= actors
    assert [line for line in shown if not LINE.fullmatch(line)] == []
    assert [line[:19] for line in shown] == sorted(line[:19] for line in shown)
    console.ok("clear log ring")
    assert console.error("log ring").startswith("the log ring is off")


def test_syslog_from_every_process(console: Console) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        console.ok(f"log syslog remote udp localhost:{server.getsockname()[1]}", "log level debug", "vm info")
        packet = b""
        while b"request actor=vm type=vm.list.get" not in packet:
            packet = server.recv(4096)
        assert re.match(rb"<31>\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ minibus\[\d+\]: \w+\.py:\d+: ", packet)
        console.ok("clear log syslog")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("log file /", "cannot open log file /: is a directory"),
        ("log file /dev/zero", "cannot open log file /dev/zero: is not a regular file"),
        ("log syslog remote udp nowhere", "`nowhere` is no address of a syslog server: expected HOST:PORT"),
        ("log syslog remote tcp 127.0.0.1:1", "syslog server tcp:127.0.0.1:1: connection refused"),
        ("log ring 10001", "invalid size `10001`: expected 0 to 10000 records"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(console: Console, line: str, sentence: str) -> None:
    assert console.error(line) == sentence
    assert [console.ok(f"log {name}") for name in ("level", "file", "filter")] == ["info", "", "[]"]


def test_the_local_syslog_daemon_if_there_is_one(console: Console) -> None:
    if Path("/dev/log").exists():
        assert console.ok("log syslog local") == ""
    else:
        assert console.error("log syslog local") == "Unix syslog delivery error: no such file or directory"
