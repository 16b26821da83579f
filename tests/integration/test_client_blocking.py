"""The client library without asyncio."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import bus
from bus.messages.pipe import GetPipes
from bus.messages.vm import GetVms, StartVms, TopVms, VmList
from tests.integration.client_host import ROOT, ClientHost, client_host
from tests.system.patience import FACTOR

QUICK_S = 20.0 * FACTOR


@pytest.fixture(scope="module")
def host() -> Iterator[ClientHost]:
    """One for all tests of this file."""
    with client_host() as found:
        yield found


@pytest.fixture
def client(host: ClientHost) -> Iterator[bus.BlockingClient]:
    """A connection."""
    with bus.connect_sync(host.base) as found:
        yield found


def in_background(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_it_asks_and_runs_lines(client: bus.BlockingClient) -> None:
    assert client.ask("vm", GetVms()) == VmList(vms=())
    assert client.run("vm config memory", namespace="exp9").text == "2048"
    assert "minimega" in {row["namespace"] for row in client.rows("namespace")}
    with pytest.raises(bus.NotFoundError, match="ghost"):
        client.ask("vm", GetVms(target="ghost"))
    with pytest.raises(bus.CommandFailed):
        client.rows("vm config memory lots")


def test_events_come_one_by_one_or_with_patience(client: bus.BlockingClient) -> None:
    with client.subscribe("vm/exp1/") as events:
        assert events.next(timeout_s=0.01) is None
        client.ask("vm", StartVms(target="3"), namespace="exp1")
        first = events.next(QUICK_S)
        assert isinstance(first, bus.Received)
        for number, event in enumerate(events, start=2):
            assert isinstance(event, bus.Received)
            assert event.envelope.topic_seq == first.envelope.topic_seq + number - 1
            if number == 3:
                break
        assert events.lost == 0
    with pytest.raises(bus.ClosedError):
        events.next()


def test_a_pipe_is_written_and_read(client: bus.BlockingClient) -> None:
    lines = [b"%d" % number for number in range(100)]

    def write() -> None:
        with client.write_pipe("p") as writer:
            for line in lines:
                writer.write(line + b"\n")
            writer.drain()

    with client.read_pipe("p") as reader:
        writing = in_background(write)
        found = [message for _, message in zip(lines, reader, strict=False)]
        assert reader.lost == 0
        with pytest.raises(TimeoutError):
            reader.read(timeout_s=0.05)
    writing.join()
    assert found == lines
    (pipe,) = client.ask("plumber", GetPipes(pipe="p")).pipes
    assert (pipe.count, pipe.readers) == (100, 0)


def test_a_writer_that_fails_leaves_without_waiting(client: bus.BlockingClient) -> None:
    with client.read_pipe("stuck"), pytest.raises(KeyError), client.write_pipe("stuck") as writer:
        writer.write(b"x\n")
        raise KeyError


def test_threads_share_a_client_and_closing_ends_their_calls(host: ClientHost) -> None:
    client = bus.connect_sync(host.base)
    outcomes: list[object] = []

    def wait(call: object) -> None:
        try:
            outcomes.append(call())  # type: ignore[operator]
        except bus.BusError as error:
            outcomes.append(error)

    with client.subscribe("vm/nothing/") as events, client.read_pipe("nothing") as reader:
        threads = [
            in_background(wait, lambda: client.ask("vm", TopVms(window_s=30.0))),
            in_background(wait, events.next),
            in_background(wait, lambda: next(iter(reader))),
        ]
        client.ask("vm", GetVms())
        client.close()
        client.close()
        for thread in threads:
            thread.join(QUICK_S)
    assert [type(outcome) for outcome in outcomes] == [bus.ClosedError] * 3
    with pytest.raises(bus.ClosedError):
        client.ask("vm", GetVms())


def test_an_interrupted_call_leaves_the_client_as_it_was(
    client: bus.BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import concurrent.futures

    def interrupted(self: object, timeout: float | None = None) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(concurrent.futures.Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.ask("vm", TopVms(window_s=30.0))
    assert client.ask("vm", GetVms()) == VmList(vms=())


def test_who_cannot_connect_is_told_and_leaves_no_thread() -> None:
    with pytest.raises(bus.UnreachableError, match="minibus is not running on /nonexistent"):
        bus.connect_sync("/nonexistent")


def test_a_program_that_forgets_to_close_ends_all_the_same(host: ClientHost) -> None:
    code = f"import bus; c = bus.connect_sync({str(host.base)!r}); print(c.run('version').errors)"
    started_s = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=QUICK_S)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "()\n", "")
    assert time.monotonic() - started_s < 10


def test_a_forked_child_is_told_to_connect_again_and_disturbs_nobody(host: ClientHost) -> None:
    code = f"""
import os, bus
from bus.messages.vm import GetVms
with bus.connect_sync({str(host.base)!r}) as client, client.subscribe("vm/") as events:
    if (pid := os.fork()) == 0:
        try:
            client.ask("vm", GetVms())
        except bus.ClosedError as error:
            print(error, flush=True)
        with bus.connect_sync({str(host.base)!r}) as own:
            print(own.ask("vm", GetVms()).vms, flush=True)
    else:
        print(os.waitpid(pid, 0)[1], client.ask("vm", GetVms()).vms, flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=QUICK_S)
    told, child, parent = ended.stdout.splitlines()
    assert told == "this client was connected by another process: connect again after a fork"
    assert (child, parent, ended.returncode, ended.stderr) == ("()", "0 ()", 0, "")


def test_an_asynchronous_program_can_have_one_too(host: ClientHost) -> None:
    """Its thread has a loop of its own."""
    import asyncio

    async def main() -> int:
        with bus.connect_sync(host.base) as client:
            return len(client.rows("namespace"))

    assert asyncio.run(main()) >= 1
