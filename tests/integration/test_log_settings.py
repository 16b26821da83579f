"""Log settings of a real node, and its real children that obey them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.client import connect
from bus.errors import InvalidError
from bus.messages.debug import (
    GetLogging,
    GetLogLines,
    GetRuntime,
    GetStacks,
    Logging,
    ResetLogging,
    RuntimeInfo,
    SetLogging,
)
from bus.port import Port
from tests.integration.processes import broker_serves, serves, toys
from tests.integration.running_node import RunningNode, node, until
from tests.system.patience import FACTOR

ASK_S = 10.0 * FACTOR


@pytest.fixture
def log_file(base_dir: Path) -> Path:
    """A file that is not there yet."""
    return base_dir / "logs" / "all"


@asynccontextmanager
async def speaking(base: Path) -> AsyncIterator[tuple[RunningNode, Port]]:
    """A node with a child that logs all the time, and a client."""
    with node(base, "broker", "speaker") as running:
        assert running.said() == "ready\n"
        async with connect(base) as client:
            yield running, client


def said(path: Path) -> str:
    """What is in a log file."""
    return path.read_text() if path.exists() else ""


def falls_silent(path: Path) -> None:
    """Wait until nothing is written for the time of thirty records."""
    sizes: list[int] = []

    def silent() -> bool:
        sizes.append(len(said(path)))
        return len(sizes) > 30 and len(set(sizes[-30:])) == 1

    until(silent)


async def test_a_level_holds_for_running_and_restarted_children(base_dir: Path, log_file: Path) -> None:
    async with speaking(base_dir) as (running, client):
        await client.ask("node", SetLogging(file=str(log_file)), timeout_s=ASK_S)
        until(lambda: " ERROR toy_node.py:" in said(log_file))
        assert "whispered" not in said(log_file)
        await client.ask("node", SetLogging(level="debug"), timeout_s=ASK_S)
        until(lambda: " DEBUG toy_node.py:" in said(log_file))
        first = running.pids("speaker")[0]
        os.kill(first, signal.SIGKILL)
        running.wait_for("speaker begins", 2)
        second = running.pids("speaker")[1]
        until(lambda: f"whispered actor=speaker pid={second} number=1\n" in said(log_file))
        assert 'child_ended actor=node child=speaker how="killed by SIGKILL"' in said(log_file)
        await client.ask("node", SetLogging(level="fatal"), timeout_s=ASK_S)
        falls_silent(log_file)
        settings = await client.ask("node", GetLogging(), timeout_s=ASK_S)
        assert settings == Logging(level="fatal", file=str(log_file))


async def test_filters_and_stderr_and_the_way_back(base_dir: Path, log_file: Path) -> None:
    async with speaking(base_dir) as (running, client):
        await client.ask("node", SetLogging(level="debug", file=str(log_file), stderr=False), timeout_s=ASK_S)
        falls_silent(base_dir / "node.err")
        await client.ask("node", SetLogging(add_filter="whispered actor=speaker"), timeout_s=ASK_S)
        await client.ask("node", SetLogging(add_filter="shouted"), timeout_s=ASK_S)
        falls_silent(log_file)
        await client.ask("node", ResetLogging(settings=("filters",)), timeout_s=ASK_S)
        size = len(said(log_file))
        until(lambda: "whispered" in said(log_file)[size:] and "shouted" in said(log_file)[size:])
        await client.ask("node", ResetLogging(), timeout_s=ASK_S)
        falls_silent(log_file)
        size = len(running.errors())
        until(lambda: '"event": "shouted"' in running.errors()[size:])
        assert await client.ask("node", GetLogging(), timeout_s=ASK_S) == Logging()


async def test_settings_that_cannot_be_change_nothing_anywhere(base_dir: Path, log_file: Path) -> None:
    async with speaking(base_dir) as (_, client):
        await client.ask("node", SetLogging(file=str(log_file)), timeout_s=ASK_S)
        before = await client.ask("node", GetLogging(), timeout_s=ASK_S)
        wrong = [
            SetLogging(level="loud"),
            SetLogging(level="debug", file="/"),
            SetLogging(level="debug", file="relative"),
            SetLogging(level="debug", ring=-1),
            SetLogging(level="debug", syslog="udp:nowhere"),
            SetLogging(level="debug", syslog="tcp:127.0.0.1:1"),
            SetLogging(level="debug", add_filter="x" * 40_000),
            ResetLogging(settings=("level", "colour")),
        ]
        for request in wrong:
            with pytest.raises(InvalidError) as refused:
                await client.ask("node", request, timeout_s=ASK_S)
            assert str(refused.value)
            assert "\n" not in str(refused.value)
        assert await client.ask("node", GetLogging(), timeout_s=ASK_S) == before
        size = len(said(log_file))
        until(lambda: said(log_file)[size:].count("shouted") > 3)
        assert "whispered" not in said(log_file)


async def test_the_environment_says_how_it_begins(
    base_dir: Path, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIBUS_LOG_LEVEL", "error")
    monkeypatch.setenv("MINIBUS_LOG_FILE", str(log_file))
    monkeypatch.setenv("MINIBUS_LOG_STDERR", "0")
    async with speaking(base_dir) as (running, client):
        until(lambda: "shouted" in said(log_file))
        assert running.errors() == ""
        await client.ask("node", SetLogging(level="debug", file=""), timeout_s=ASK_S)
        falls_silent(log_file)
        await client.ask("node", ResetLogging(), timeout_s=ASK_S)
        size = len(said(log_file))
        until(lambda: "shouted" in said(log_file)[size:])
        assert "ready actor=node" not in said(log_file)


def test_a_wrong_environment_is_refused(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIBUS_LOG_LEVEL", "loud")
    with node(base_dir, "first") as running:
        assert running.process.wait(10) == 1
        assert running.errors() == (
            "minibus: MINIBUS_LOG_LEVEL is `loud`: expected one of debug, info, warn, error, fatal\n"
        )


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A syslog server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server


async def test_syslog_over_udp(base_dir: Path, udp: socket.socket) -> None:
    async with speaking(base_dir) as (running, client):
        where = f"udp:localhost:{udp.getsockname()[1]}"
        await client.ask("node", SetLogging(syslog=where), timeout_s=ASK_S)
        pid = running.pids("speaker")[0]
        packet = udp.recv(4096).decode()
        assert packet.startswith("<27>")
        assert f" minibus[{pid}]: toy_node.py:" in packet
        os.kill(pid, signal.SIGKILL)
        running.wait_for("speaker begins", 2)
        successor = running.pids("speaker")[1]
        while f" minibus[{successor}]: " not in packet:
            packet = udp.recv(4096).decode()
        assert (await client.ask("node", GetLogging(), timeout_s=ASK_S)).syslog.startswith("udp:127.0.0.1:")


async def test_syslog_over_tcp_each_process_on_its_own_connection(base_dir: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(10)
        async with speaking(base_dir) as (running, client):
            where = f"tcp:127.0.0.1:{server.getsockname()[1]}"
            await client.ask("node", SetLogging(syslog=where), timeout_s=ASK_S)
            pid = running.pids("speaker")[0]
            found: list[str] = []
            while not found:
                connection, _ = server.accept()
                connection.settimeout(0.3)
                with connection, connection.makefile() as lines:
                    try:
                        found = [lines.readline() for _ in range(3)]
                    except TimeoutError:
                        continue
                    found = found if found[-1] else []
            assert all(f" minibus[{pid}]: toy_node.py:" in line for line in found)


async def test_the_ring_of_the_node(base_dir: Path) -> None:
    async with speaking(base_dir) as (running, client):
        assert (await client.ask("node", GetLogLines(), timeout_s=ASK_S)).lines == ()
        await client.ask("node", SetLogging(ring=3), timeout_s=ASK_S)
        for times in range(2, 5):
            os.kill(running.pids("speaker")[-1], signal.SIGKILL)
            running.wait_for("speaker begins", times)
        lines = (await client.ask("node", GetLogLines(), timeout_s=ASK_S)).lines
        assert len(lines) == 3
        assert lines[-1].text.startswith("node.py:")
        assert "child_restarted actor=node child=speaker" in lines[-1].text
        assert [line.time_s for line in lines] == sorted(line.time_s for line in lines)


async def test_the_broker_tells_about_itself(base_dir: Path) -> None:
    async with speaking(base_dir) as (_, client):
        info = await client.ask("broker", GetRuntime(), timeout_s=ASK_S)
        assert isinstance(info, RuntimeInfo)
        assert info.actor == "broker"
        assert info.rss_bytes > 0
        assert "in _tick" in (await client.ask("broker", GetStacks(), timeout_s=ASK_S)).text


# --- without a node


async def test_a_process_started_by_hand_looks_at_the_environment(
    base_dir: Path, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with toys(base_dir) as processes:
        monkeypatch.setenv("MINIBUS_LOG_LEVEL", "loud")
        assert processes.start("broker").wait(10) == 1
        sentence = "minibus broker: MINIBUS_LOG_LEVEL is `loud`: expected one of debug, info, warn, error, fatal\n"
        assert processes.said("broker") == sentence
        monkeypatch.setenv("MINIBUS_LOG_LEVEL", "debug")
        monkeypatch.setenv("MINIBUS_LOG_FILE", str(log_file))
        processes.start("broker")
        processes.start("vm")
        await broker_serves(base_dir)
        async with connect(base_dir) as client:
            await serves(client, "vm")
        assert "request actor=vm type=control.status.get sender=" in said(log_file)
