"""Files, syslog and memory as places for log records."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.logs import log_sinks
from bus.logs.log_format import Line
from bus.logs.log_settings import LogSettings
from bus.logs.log_sinks import MAX_RING_CHARACTERS, MAX_WAITING, FileSink, Ring, SyslogSink, open_sinks


def line(text: str = "a.py:1: x") -> Line:
    """A record."""
    return Line(1_700_000_000.0, "info", "vm", text)


# --- files


def test_a_file_is_made_with_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "log"
    before = os.umask(0o077)
    try:
        sink = FileSink(str(path))
    finally:
        os.umask(before)
    sink.write(line())
    sink.close()
    assert path.read_text().endswith(" INFO a.py:1: x\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_file_that_is_there_is_appended_to_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    path.chmod(0o600)
    sinks = [FileSink(str(path)), FileSink(str(path))]
    for sink in sinks:
        sink.write(line())
        sink.close()
    assert len(path.read_text().splitlines()) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "is a directory"),
        (tmp_path / "fifo", "no such device or address"),
        (tmp_path / "file" / "x", "not a directory"),
        (Path("/dev/null"), "is not a regular file"),
    ]:
        assert open_sinks(LogSettings(file=str(path))) == ([], [f"cannot open log file {path}: {reason}"])


# --- syslog


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A syslog server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        yield server


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """A syslog server that takes connections."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(5)
        yield server


def port(server: socket.socket) -> int:
    """Where it listens."""
    number: int = server.getsockname()[1]
    return number


def test_udp(udp: socket.socket) -> None:
    sink = SyslogSink(f"udp:127.0.0.1:{port(udp)}")
    sink.write(line())
    packet = udp.recv(4096).decode()
    assert packet.startswith("<30>")
    assert packet.endswith(f" {socket.gethostname()} minibus[{os.getpid()}]: a.py:1: x")
    sink.close()


def test_udp_to_nobody_goes_on_when_somebody_is_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        where = port(server)
    sink = SyslogSink(f"udp:127.0.0.1:{where}")
    for number in range(4):
        sink.write(line(f"lost {number}"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", where))
        server.settimeout(5)
        sink.write(line("arrives"))
        sink._retry_s = 0.0
        sink.flush()
        while not server.recv(4096).endswith(b"arrives"):
            pass
    sink.close()


def test_tcp_ends_each_packet_with_a_newline(tcp: socket.socket) -> None:
    sink = SyslogSink(f"tcp:127.0.0.1:{port(tcp)}")
    connection, _ = tcp.accept()
    sink.write(line("a.py:1: x"))
    sink.write(line("a.py:1: y"))
    sink.flush()
    sink.close()
    with connection, connection.makefile() as lines:
        assert [text.rpartition(" ")[2] for text in lines] == ["x\n", "y\n"]


def test_a_lost_connection_is_made_anew(tcp: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sinks, "RECONNECT_S", 0.0)
    sink = SyslogSink(f"tcp:127.0.0.1:{port(tcp)}")
    tcp.accept()[0].close()
    tcp.settimeout(0.05)
    for number in range(100):
        sink.write(line(f"n={number}"))
        try:
            connection, _ = tcp.accept()
        except TimeoutError:
            continue
        break
    sink.write(line("last"))
    sink.close()
    with connection, connection.makefile() as lines:
        assert lines.read().endswith("last\n")


def test_a_server_that_does_not_read_costs_neither_time_nor_memory(tcp: socket.socket) -> None:
    sink = SyslogSink(f"tcp:127.0.0.1:{port(tcp)}")
    connection, _ = tcp.accept()
    for _ in range(20_000):
        sink.write(line("x" * 1000))
    assert sink.waiting == MAX_WAITING
    connection.close()
    sink.close()


def test_without_a_local_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_sinks, "LOCAL_SYSLOG", str(tmp_path / "none"))
    sinks, problems = open_sinks(LogSettings(syslog="local"))
    assert (sinks, problems) == ([], ["Unix syslog delivery error: no such file or directory"])


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_local_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: socket.SocketKind) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(log_sinks, "LOCAL_SYSLOG", path)
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(path)
        server.settimeout(5)
        if kind == socket.SOCK_STREAM:
            server.listen()
        sink = SyslogSink("local")
        sink.write(line())
        connection = server.accept()[0] if kind == socket.SOCK_STREAM else server
        assert connection.recv(4096).rstrip(b"\n").endswith(f" minibus[{os.getpid()}]: a.py:1: x".encode())
        connection.close()
        sink.close()


def test_a_forked_child_has_its_own_connection(tcp: socket.socket) -> None:
    sink = SyslogSink(f"tcp:127.0.0.1:{port(tcp)}")
    first, _ = tcp.accept()
    sink.forked()
    sink.write(line("child"))
    second, _ = tcp.accept()
    sink.flush()
    assert second.recv(4096).endswith(b"child\n")
    for sock in (first, second):
        sock.close()
    sink.close()


# --- memory


def test_a_ring_keeps_the_newest() -> None:
    ring = Ring()
    ring.add(line("none is kept before it has a size"))
    ring.resize(3)
    for number in range(5):
        ring.add(line(str(number)))
    assert [kept.text for _, kept in ring.after()] == ["2", "3", "4"]
    last = ring.after()[-2][0]
    assert [kept.text for _, kept in ring.after(last)] == ["4"]
    ring.resize(1)
    assert [kept.text for _, kept in ring.after()] == ["4"]
    ring.resize(0)
    assert ring.after() == []


def test_a_ring_is_bounded_in_characters() -> None:
    ring = Ring()
    ring.resize(10_000)
    for _ in range(1000):
        ring.add(line("x" * 8000))
    assert sum(len(kept.text) for _, kept in ring.after()) <= MAX_RING_CHARACTERS
