"""Clients of the command socket that mean harm or do not know better, and a thousand that mean well at once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.product import PATIENCE_S, Console, Product, one_sentence, until

CLIENTS = 1_000
NAMESPACES = 50
NEIGHBOUR_S = 2.0
"""How long another client may have to wait while somebody does his worst."""
MEMORY_MIB = 200
"""By how much the command server may grow under any of this."""


def raw(product: Product) -> socket.socket:
    """A connection that sends whatever one likes."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(str(product.base / "minimega"))
    return client


def answers(client: socket.socket) -> list[dict[str, object]]:
    """Every reply up to the end of the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(1 << 20):
            data += chunk
    return [json.loads(line) for line in data.splitlines()]


def descriptors(pid: int) -> dict[str, str]:
    """What a process has open."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def wait_for_descriptors(pid: int, before: dict[str, str]) -> None:
    """Wait until a process has no more open than it had; fails naming what it has."""
    try:
        until(lambda: len(descriptors(pid)) <= len(before), "closed connections to be let go")
    except AssertionError as error:
        now = descriptors(pid)
        raise AssertionError(f"left open: { ({fd: now[fd] for fd in now if now[fd] != before.get(fd)}) }") from error


@pytest.fixture
def neighbour(shared: Product, console: Console) -> Iterator[Console]:
    """Another client, which must be served all the time by a server that neither grows nor leaks."""
    server = psutil.Process(shared.pid("cli"))
    before_mib, open_before = server.memory_info().rss / 2**20, descriptors(server.pid)
    slowest_s = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal slowest_s
        with shared.console() as other:
            while not done.wait(0.01):
                begun_s = time.monotonic()
                other.ok("echo there")
                slowest_s = max(slowest_s, time.monotonic() - begun_s)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield console
    finally:
        done.set()
        thread.join()
    assert shared.pid("cli") == server.pid, "the command server fell"
    assert slowest_s < NEIGHBOUR_S
    wait_for_descriptors(server.pid, open_before)
    assert server.memory_info().rss / 2**20 - before_mib < MEMORY_MIB


# --- requests


@pytest.mark.parametrize(
    "data",
    [
        b'{"Command":' * 1_000,
        b'{"x":' + b"[" * 31 + b"]" * 31 + b"}" + b"{" * 100,
        b'{"x": ' + b"9" * 1_000_000 + b"}",
        b'{"x": 1e999, "Command": 1e999}',
        b'{"x": -' + b"0" * 1_000_000 + b"}",
        b'{"Command": true}',
        b'{"Command": {"Command": "version"}}',
        b'{"Command": ["version"]}',
        b'"version"',
        b"version\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xfe{\x00}\x00",
        b'{"Command": "version"',
        b'{"Command": "version\\',
        b'{"Command": "\\u12',
        b'{"Command": "\\x41"}',
        b'{"Command": "a\nb"}',
        b"{'Command': 'version'}",
        b"nul",
        b"{}}",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_request_ends_the_connection(shared: Product, neighbour: Console, data: bytes) -> None:
    with raw(shared) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        for reply in answers(client):
            assert reply["Resp"] and "version" not in str(reply["Rendered"])


@pytest.mark.parametrize(
    "piece", [b'{"Command": "' + b"x" * 65_536, b"[" * 65_536, b'{"a":"' + b"\\u0041" * 10_000, b'"{' * 30_000]
)
def test_a_hundred_megabytes_in_one_request(shared: Product, neighbour: Console, piece: bytes) -> None:
    with raw(shared) as client:
        sent = 0
        try:
            client.sendall(piece)
            while sent < 100 * 2**20:
                sent += client.send(b"x" * 65_536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            pytest.fail("a hundred megabytes were taken")


def test_a_hundred_megabytes_of_nothing(shared: Product, neighbour: Console) -> None:
    """Blanks between requests are no request: they are read and forgotten."""
    with raw(shared) as client:
        for _ in range(1_600):
            client.sendall(b" \r\n\t" * 16_384)
        client.sendall(b'{"Command": "echo after"}')
        client.shutdown(socket.SHUT_WR)
        assert [reply["Rendered"] for reply in answers(client)] == [f"{os.uname().nodename}: after"]


def test_invalid_utf_8_is_replaced(shared: Product, neighbour: Console) -> None:
    with raw(shared) as client:
        client.sendall(b'{"Command": "echo a\xff\xc3(b"}')
        client.shutdown(socket.SHUT_WR)
        (reply,) = answers(client)
        assert "a\ufffd\ufffd(b" in str(reply["Rendered"])


@pytest.mark.parametrize(
    "line",
    [
        'vm start "',
        "vm start 'a",
        "vm start a\\",
        "vm start \\q",
        ".csv true " * 200 + "version",
        ".csv true " * 20_000 + "version",
        "namespace a " * 101 + "version",
        "vm start " + "a," * 200_000,
        "vm start x[" + "1-2," * 100_000 + "3]",
        "vm start x[0-99999999999999999999]",
        "vm launch container " + "9" * 100_000,
        "vm launch container x[1-999999999]",
        "vm config vcpus " + "9" * 100_000,
        "vm config memory 1e9",
        "vm top " + "9" * 100_000,
        "quit " + "9" * 100_000,
        "quit -1",
        "quit soon",
        "namespace " + "a" * 100_000,
        "namespace ../../etc",
        ".columns " + "a," * 100_000 + " vm info",
        ".filter " + "=" * 100_000 + " vm info",
        "read /dev/zero",
        "read /proc/self/mem",
        "read /",
        'read ""',
        'read "a\\nb"',
        "\x00",
        "\u202e",
        "x" * 1_048_577,
        "x " * 20_001,
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_bad_line_gets_one_sentence(neighbour: Console, line: str) -> None:
    sentence = neighbour.error(line)
    assert sentence.strip() and len(sentence) < 1_000, sentence[:2_000]
    assert not any(ugly in sentence for ugly in ("Traceback", "internal error", "object at 0x")), sentence


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_048_577,
        "vm " * 300_000,
        ".csv true " * 5_000,
        ".csv true " * 90 + "vm ",
        "namespace " * 20_000,
        'vm start "',
        "vm start a\\",
        "vm start " + "a" * 900_000,
        "vm config filesystem " + "/" * 10_000,
        "vm config filesystem /proc/self/fd/../../../",
        "file:" + "../" * 1_000,
        "echo file:../../",
        "echo $",
        "echo ${",
        "\x00",
        "read /dev/fd/",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_bad_line_to_complete_gets_few_suggestions(shared: Product, neighbour: Console, text: str) -> None:
    with raw(shared) as client:
        client.sendall(json.dumps({"Suggest": text}).encode())
        client.shutdown(socket.SHUT_WR)
        (reply,) = answers(client)
        found = reply["Suggest"]
        assert isinstance(found, list) and len(found) <= 1_000
        assert "Traceback" not in str(reply)


# --- scripts


def test_a_script_with_a_bad_line_in_the_middle(neighbour: Console, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo one\n\n# fine\nvm stat x\necho never\n")
    assert neighbour.error(f"read {script} check").startswith(f"{script}:4: invalid command: `vm stat x`")
    assert "one" not in neighbour.ok("history"), "`check` runs nothing"
    first, second = neighbour.command(f"read {script}")
    assert first["Response"] == "one"
    assert second["Error"].startswith(f"{script}:4: invalid command: `vm stat x`")


@pytest.mark.parametrize(
    "line",
    [
        "read {script}",
        "rea {script}",
        "read {script} check",
        ".csv true read {script}",
        ".json true .csv false .record false re {script}",
        "namespace x read {script}",
        "again {script}",
        ".csv true again {script}",
        "read {other}",
    ],
)
def test_scripts_do_not_nest(neighbour: Console, tmp_path: Path, line: str) -> None:
    script, other = tmp_path / "script", tmp_path / "other"
    neighbour.ok(".alias again=read")
    other.write_text(f"read {script}\n")
    script.write_text(f"echo one\n{line.format(script=script, other=other)}\n")
    sentence = one_sentence(neighbour.error(f"read {script} check"))
    assert sentence == f"{script}:2: cannot run nested `read` commands"
    assert [response["Error"] for response in neighbour.command(f"read {script}")] == ["", sentence]
    assert neighbour.ok("echo free") == "free", "the next script may run"


@pytest.mark.parametrize("data", [b"\x00" * 4096, os.urandom(4096), b"a" * 2_000_000, b'echo "\n' * 10, b"\r\r\r\r"])
def test_a_script_that_is_none(neighbour: Console, tmp_path: Path, data: bytes) -> None:
    script = tmp_path / "script"
    script.write_bytes(data)
    for response in neighbour.command(f"read {script}"):
        assert len(response["Error"]) < 1_000
        assert "internal error" not in response["Error"]


# --- aliases and variables


@pytest.mark.parametrize(
    ("definitions", "line"),
    [
        ((".alias qa=qb", ".alias qb=qa"), "qa"),
        ((".alias qa=qa qa qa",), "qa"),
        ((".alias loop=.csv true loop",), "loop"),
        ((".alias qa=.csv true qb", ".alias qb=.json false qa"), "qa"),
        ((*(f".alias x{n}=.csv true x{n + 1} {f'x{n + 1} ' * 500}" for n in range(60)),), "x0"),
    ],
)
def test_aliases_end(shared: Product, neighbour: Console, definitions: tuple[str, ...], line: str) -> None:
    with shared.console() as client:
        client.ok(*definitions)
        assert one_sentence(client.error(line))


def test_variables_do_not_explode(shared: Product, neighbour: Console) -> None:
    with shared.console() as client:
        client.command(".env A xxxxxxxxxxxxxxxx")
        errors = {client.command(".env A $A$A$A$A$A$A$A$A")[0]["Error"] for _ in range(20)}
        assert len(errors) == 2, errors
        assert one_sentence("".join(errors))


# --- clients that go, and clients that stay


def test_a_client_that_goes_during_an_answer(shared: Product, neighbour: Console, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo " + "x" * 10_000 + "\n" * 1 + "echo y\n" * 300)
    for count in range(30):
        with raw(shared) as client:
            client.sendall(json.dumps({"Command": f"read {script}"}).encode())
            if count % 2:
                client.recv(100)


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
