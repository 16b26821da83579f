"""Clients of the command socket that mean harm or do not know better: they hurt themselves alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.neighbour import answers, neighbour_of, raw
from tests.system.product import Console, Product, one_sentence


@pytest.fixture
def neighbour(shared: Product, console: Console) -> Iterator[Console]:
    """A client, while another must be served all the time by a server that neither grows nor leaks."""
    with neighbour_of(shared):
        yield console


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
        "vm config tags big " + "x" * 1_000_000,
        "vm config append " + "x " * 19_000 + "x" * 100_000,
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
