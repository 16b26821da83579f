"""The subcommands with `--key`: what they print of another host is what they print there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

import bus
from bus.messages.control import CountReaders, Stats
from bus.messages.pipe import DeletePipes, GetPipes
from cli.main import dispatch
from cli.place import Place
from cli.streams import presence
from cli.streams.presence import while_there
from tests.integration.client_host import LOCAL, ROOT, WAIT_S, ClientHost, client_host


@pytest.fixture(scope="module")
def host() -> Iterator[ClientHost]:
    """One for all of them, with a gateway."""
    with client_host((*LOCAL, "gateway")) as found:
        yield found


@pytest.fixture(scope="module")
def control(host: ClientHost) -> str:
    """The file of a client that may do everything."""
    return str(host.key("admin", "--role", "control"))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a subcommand."""
    capsys.readouterr()
    status = dispatch("minibus", list(words))
    return (status, *capsys.readouterr())


@pytest.mark.parametrize(
    "words",
    [
        ("vm config memory",),
        (".csv true", "ns", "schedules"),
        (".json true vm config memory",),
        (".annotate false .columns name,queued .headers false namespace",),
        ("namespace",),
        ("--json", "namespace"),
        ("--json", "vm config memory"),
        ("vm nonsense",),
        ("--namespace", "exp7", "vm config memory"),
    ],
)
def test_a_command_answers_as_it_does_there(
    host: ClientHost, control: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    here = said(capsys, "exec", "--base", str(host.base), *words)
    assert said(capsys, "exec", "--key", control, *words) == here
    assert here[1] or here[2]
    assert here[0] == bool(here[2])


def test_a_key_that_is_limited_is_told_what_it_may_not(host: ClientHost, capsys: pytest.CaptureFixture[str]) -> None:
    limited = str(host.key("limited", "--role", "control", "--namespace", "exp1"))
    assert said(capsys, "exec", "--key", limited, "--namespace", "exp1", "vm config memory")[0] == 0
    assert said(capsys, "exec", "--key", limited, "vm config memory")[0] == 0  # there, too
    assert said(capsys, "ask", "--key", limited, "vm", "vm.list.get")[0] == 0
    status, out, err = said(capsys, "exec", "--key", limited, "--namespace", "exp2", "version")
    assert (status, out) == (1, "")
    assert err == "minibus: the key limited is not for the namespace `exp2`: only exp1\n"
    status, out, err = said(capsys, "exec", "--key", limited, "--namespace", "exp1", "shell id")
    assert (status, out) == (1, "")
    assert "this key is limited to namespaces, and `shell <command>...` reaches beyond them" in err


def test_the_tools_of_the_bus(host: ClientHost, control: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "ask", "--key", control, "vm", "vm.list.get") == (0, '{"type":"vm.list","vms":[]}\n', "")
    status, out, _ = said(capsys, "ask", "--key", control, "--list", "plumber")
    assert (status, "pipe.write" in out) == (0, True)
    status, out, _ = said(capsys, "ps", "--json", "--key", control, "--address", host.address)
    assert (status, {"broker", "gateway"} <= {one["actor"] for one in json.loads(out)}) == (0, True)
    assert "stats/" in said(capsys, "topics", "--key", control)[1]
    assert "cli.run" in said(capsys, "inputs", "--key", control, "cli")[1]
    status, out, _ = said(capsys, "rate", "--json", "--for", "0.2", "--key", control, "stats/")
    assert (status, json.loads(out.splitlines()[-1])["total"]) == (0, True)
    newest = json.loads(said(capsys, "trace", "--json", "--key", control)[1])
    assert newest
    assert newest[-1]["id"] in said(capsys, "trace", "--key", control, newest[-1]["id"])[1]


def test_a_tap_watches_and_reads_a_pipe_until_its_key_is_revoked(host: ClientHost) -> None:
    tap = host.key("eve", "--role", "tap", "--topic", "pipe/exp1/orders")
    argv = [sys.executable, "-m", "cli.main"]
    flags = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*argv, "tap", "--json", "--key", tap, "pipe/exp1/orders"], **flags) as watching,  # type: ignore[call-overload]
        subprocess.Popen([*argv, "pipe", "--read", "--namespace", "exp1", "--key", tap, "orders"], **flags) as reading,  # type: ignore[call-overload]
    ):
        try:
            assert watching.stdout is not None and reading.stdout is not None
            with bus.connect_sync(host.base, namespace="exp1") as client:
                with client.subscribe("pipe/exp1/") as events, client.write_pipe("orders") as writer:
                    while _readers(client) != 1:
                        events.next(0.02)
                    writer.write(b"one\n")
                    assert reading.stdout.readline() == "one\n"
                    while not _is_watched(client):
                        events.next(0.02)
                    writer.write(b"two\n")
                    topics = {json.loads(watching.stdout.readline())["topic"]}
                assert topics == {"pipe/exp1/orders/all/"}
                host.revoke("eve")
                for process in (watching, reading):
                    _, err = process.communicate(timeout=WAIT_S)
                    assert process.returncode == 1
                    assert "refuses the key eve: it is unknown there, was revoked or has expired" in err
                client.ask("plumber", DeletePipes(pipe="orders"))
        finally:
            for process in (watching, reading):
                process.kill()


def _readers(client: bus.BlockingClient) -> int:
    return sum(one.readers for one in client.ask("plumber", GetPipes(pipe="orders")).pipes)


def _is_watched(client: bus.BlockingClient) -> bool:
    return client.ask("broker", CountReaders(topic="pipe/exp1/orders/all/")).covering >= 2


async def test_who_watches_is_told_when_minibus_there_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_S", 0.02)
    monkeypatch.setattr(presence, "GONE_S", 0.3)
    with client_host(("broker", "gateway")) as host:
        place = Place(host.base, str(host.key("admin", "--role", "control")))
        watching = asyncio.create_task(while_there(place, asyncio.Event().wait()))
        async with bus.connect(host.base) as client, client.subscribe("stats/") as events:
            async for event in events:
                match event:
                    case bus.Received(message=Stats(counters=counters)) if counters.get("requests"):
                        break
        host.kill("gateway")
        with pytest.raises(bus.UnreachableError, match=rf"does not answer at {host.address} any more"):
            await asyncio.wait_for(watching, WAIT_S)
