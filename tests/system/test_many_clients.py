"""Clients of the command socket that go at the wrong moment or stay for ever, and many at once."""

from __future__ import annotations

import contextlib
import json
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.neighbour import descriptors, neighbour_of, raw, wait_for_descriptors
from tests.system.product import Console, Product, until

CLIENTS = 1_000
NAMESPACES = 50


@pytest.fixture
def neighbour(shared: Product, console: Console) -> Iterator[Console]:
    """A client, while another must be served all the time by a server that neither grows nor leaks."""
    with neighbour_of(shared):
        yield console


# --- clients that go, and clients that stay


def test_a_client_that_goes_during_an_answer(shared: Product, neighbour: Console, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo " + "x" * 10_000 + "\n" * 1 + "echo y\n" * 300)
    for count in range(30):
        with raw(shared) as client:
            client.sendall(json.dumps({"Command": f"read {script}"}).encode())
            if count % 2:
                client.recv(100)


def test_a_command_of_a_client_that_has_gone_is_carried_out(shared: Product, neighbour: Console) -> None:
    with raw(shared) as client:
        client.sendall(b'{"Command": "vm launch container gone[1-20]"}{"Command": "vm start all"}')
    until(lambda: list(neighbour.states().values()) == ["RUNNING"] * 20, "twenty guests that nobody waits for")


def test_a_client_that_never_reads(shared: Product, neighbour: Console, tmp_path: Path) -> None:
    """It waits for itself, however much it has asked for."""
    request = json.dumps({"Command": "echo " + "x" * 100_000}).encode()
    with raw(shared) as client:
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                client.sendall(request)
        assert neighbour.ok("echo hello") == "hello"


def test_a_thousand_clients_at_once(shared: Product, console: Console) -> None:
    server = shared.pid("cli")
    before = descriptors(server)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * CLIENTS)), hard))
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(shared.console()) for _ in range(CLIENTS)]
            for number, client in enumerate(clients):
                client.send(f"echo {number}")
            for number, client in enumerate(clients):
                assert [response["Response"] for response in client.receive()] == [str(number)]
            assert len(descriptors(server)) >= len(before) + CLIENTS
            for client in clients:
                client.send("vm info")
            assert all(client.receive()[0]["Error"] == "" for client in clients)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for_descriptors(server, before)
    assert shared.pid("cli") == server


# --- fifty at once


def expected(number: int, command: str) -> str | None:
    """What client `number` must read after a command; None if it does not matter."""
    return {
        "mine": f"hello {number}",
        "echo $NAME": f"name{number}",
        "vm config memory": str(100 + number),
        ".csv": "true" if number % 2 else "false",
        ".headers": "true" if number % 3 else "false",
        "ns queueing": "true" if number % 2 else "false",
    }.get(command)


def script_of(number: int) -> list[str]:
    """What client `number` types."""
    return [
        f"namespace own{number}",
        f".csv {'true' if number % 2 else 'false'}",
        f".headers {'true' if number % 3 else 'false'}",
        f".alias mine=echo hello {number}",
        f".env NAME name{number}",
        f"vm config memory {100 + number}",
        f"ns queueing {'true' if number % 2 else 'false'}",
        "vm launch container same" if number % 2 else "echo even",
        "mine",
        "echo $NAME",
        "vm config memory",
        ".csv",
        "ns queueing",
        ".headers",
        "mine",
        "ns queue",
        "history",
    ]


def test_fifty_clients_in_fifty_namespaces_never_meet(shared: Product, console: Console) -> None:
    """Each is a random number of commands ahead of the others, and up to three of its own commands are in flight."""
    rng = random.Random(4711)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(shared.console()) for _ in range(NAMESPACES)]
        scripts = [script_of(number) for number in range(NAMESPACES)]
        sent, read = [0] * NAMESPACES, [0] * NAMESPACES
        replies: list[list[str]] = [[] for _ in range(NAMESPACES)]
        while unfinished := [n for n in range(NAMESPACES) if read[n] < len(scripts[n])]:
            number = rng.choice(unfinished)
            if sent[number] < len(scripts[number]) and sent[number] - read[number] < rng.randint(1, 4):
                clients[number].send(scripts[number][sent[number]])
                sent[number] += 1
            elif read[number] < sent[number]:
                responses = clients[number].receive()
                assert [response["Error"] for response in responses] == [""] * len(responses)
                replies[number].append("\n".join(response["Response"] for response in responses))
                read[number] += 1
        for number, script in enumerate(scripts):
            for command, reply in zip(script, replies[number], strict=True):
                wanted = expected(number, command)
                assert wanted is None or reply == wanted, (number, command)
            typed = [f"echo hello {number}" if command == "mine" else command for command in script[:-1]]
            assert replies[number][-1].split("\n") == typed, "the history is the client's own, aliases replaced"
            queued = replies[number][-2]
            assert ("Names: same" in queued, f"Memory:           {100 + number}" in queued) == (
                (True, True) if number % 2 else (False, False)
            )
        assert {row["namespace"] for row in console.rows("namespace")} >= {f"own{n}" for n in range(NAMESPACES)}
        for number in range(NAMESPACES):
            console.ok(f"clear namespace own{number}")
