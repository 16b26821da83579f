"""The client of the command socket, against a server that answers with prepared bytes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.product import CommandSocket
from tests.bench.report import UnavailableError


def reply(*responses: dict[str, object], more: bool = False) -> bytes:
    """One line of the protocol."""
    return json.dumps({"Resp": list(responses), "Rendered": "", "More": more}).encode() + b"\n"


def response(host: str, **fields: object) -> dict[str, object]:
    """One host's answer with the keys every client may expect."""
    return {"Host": host, "Response": "", "Header": None, "Tabular": None, "Error": "", "Data": None} | fields


@contextmanager
def serving(path: Path, answer: bytes) -> Iterator[tuple[CommandSocket, list[bytes]]]:
    """A connection to a server that takes one request, records it, answers and closes."""
    requests: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(65536))
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        connection = CommandSocket(path)
        try:
            yield connection, requests
        finally:
            connection.close()
            thread.join()


def test_a_command_collects_all_groups_of_its_answer(base_dir: Path) -> None:
    answer = reply(response("a"), response("b"), more=True) + reply(response("c"))
    with serving(base_dir / "s", answer) as (connection, requests):
        assert [each["Host"] for each in connection.command("version")] == ["a", "b", "c"]
    assert json.loads(requests[0]) == {"Command": "version", "Suggest": "", "PlumbPipe": ""}


def test_a_column_is_found_by_its_name_on_every_host(base_dir: Path) -> None:
    first = response("a", Header=["id", "pid"], Tabular=[["0", "11"], ["1", "12"]])
    second = response("b", Header=["pid", "id"], Tabular=[["21", "0"]])
    empty = response("c", Header=None, Tabular=None)
    with serving(base_dir / "s", reply(first, second, empty)) as (connection, _):
        assert connection.column("pid") == ["11", "12", "21"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(response("a"), response("b", Error="no such vm")), "vm info: no such vm"),
        (b"", "vm info: the server closed the connection"),
        (b"nonsense\n", "vm info: Expecting value"),
    ],
)
def test_an_error_names_the_command(base_dir: Path, answer: bytes, reason: str) -> None:
    with serving(base_dir / "s", answer) as (connection, _), pytest.raises(UnavailableError, match=reason):
        connection.command("vm info")


def test_no_server_is_one_sentence(base_dir: Path) -> None:
    with pytest.raises(UnavailableError, match=r"^minimega socket: No such file or directory$"):
        CommandSocket(base_dir / "minimega")
