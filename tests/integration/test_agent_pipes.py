"""Pipes of the namespace in a guest, local users of the agent, tunnels, probes, facts."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.agent_server import PATIENCE_S, Guest, Message, Peer, guest_in


@pytest.fixture
def guest(base_dir: Path) -> Iterator[Guest]:
    """A guest whose agent is not started yet."""
    with guest_in(base_dir) as guest:
        yield guest


@pytest.fixture
def peer(guest: Guest) -> Peer:
    """The server of a guest whose agent runs."""
    guest.start()
    return guest.server.begin()


def written(peer: Peer, channel: int) -> tuple[int, bytes]:
    """The next whole delivery of the guest's end of a pipe, and its number."""
    data = b""
    while True:
        piece = peer.hear("pipe_data", channel=channel)
        assert piece["offset"] == len(data)
        data += piece["data"]
        if not piece["more"]:
            return piece["number"], data


# --- pipes of programs


def test_output_into_a_pipe(peer: Peer) -> None:
    peer.run(1, "sh", "-c", "echo one; echo two; printf three", stdout="P")
    pipe = peer.hear("pipe")
    assert (pipe["pipe"], pipe["writes"], pipe["after"]) == ("P", True, 0)
    lines = b""
    while lines.count(b"\n") < 3:
        number, data = written(peer, pipe["channel"])
        lines += data
        peer.hears_nothing("done", 0.1)  # not before everything has arrived
        peer.say(type="pipe_ack", channel=pipe["channel"], number=number)
    assert lines == b"one\ntwo\nthree\n"
    peer.hear("pipe_end", channel=pipe["channel"])
    done = peer.hear("done", serial=1)
    assert (done["outcome"], done["stdout"]) == ("exited", 0)


def test_only_line_always_arrives(peer: Peer) -> None:
    for serial in range(1, 51):
        peer.run(serial, "echo", f"x{serial}", stdout="o")
        channel = peer.hear("pipe")["channel"]
        number, data = written(peer, channel)
        assert data == f"x{serial}\n".encode()
        peer.say(type="pipe_ack", channel=channel, number=number)
        peer.hear("done", serial=serial)


def test_long_line_comes_in_pieces(peer: Peer) -> None:
    peer.run(1, "sh", "-c", "head -c 500000 /dev/zero | tr '\\0' x; echo", stdout="P")
    channel = peer.hear("pipe")["channel"]
    number, data = written(peer, channel)
    assert data == b"x" * 500_000 + b"\n"
    peer.say(type="pipe_ack", channel=channel, number=number)
    peer.hear("done", serial=1)


def test_pipe_holds_back_its_writer_and_survives_a_break(guest: Guest, peer: Peer) -> None:
    peer.run(1, "sh", "-c", "for i in $(seq 300); do echo $i; sleep 0.002; done", stdout="P")
    channel = peer.hear("pipe")["channel"]
    first = written(peer, channel)
    peer.say(type="pipe_ack", channel=channel, number=first[0])
    for _ in range(15):
        written(peer, channel)
    peer.until(lambda: len(peer.heard) >= 1, "one more")
    peer.hears_nothing("pipe_ack", 0.3)
    assert sum(message["type"] == "pipe_data" for message in peer.heard) == 1  # 16 are under way
    peer.close()
    second = guest.server.accept()
    second.begin()
    pipe = second.hear("pipe")
    assert (pipe["channel"], pipe["after"]) == (channel, first[0])
    lines = first[1]
    while lines.count(b"\n") < 300:
        number, data = written(second, channel)
        lines += data
        second.say(type="pipe_ack", channel=channel, number=number)
    assert lines.split() == [str(number).encode() for number in range(1, 301)]
    for stream in ("stderr",):
        second.say(type="want", serial=1, stream=stream, offset=0)
    assert second.hear("done", serial=1)["outcome"] == "exited"


def test_input_from_a_pipe_until_it_is_deleted(peer: Peer) -> None:
    peer.run(1, "cat", stdin="P")
    channel = peer.hear("pipe", pipe="P", writes=False)["channel"]
    peer.say(type="pipe_data", channel=channel, number=5, offset=0, data=b"one\n", more=False)
    assert peer.hear("pipe_ack", channel=channel)["number"] == 5
    peer.say(type="pipe_data", channel=channel, number=9, offset=0, data=b"tw", more=True)
    peer.say(type="pipe_data", channel=channel, number=9, offset=2, data=b"o\n", more=False)
    assert peer.hear("pipe_ack", channel=channel)["number"] == 9
    peer.say(type="pipe_data", channel=channel, number=9, offset=0, data=b"two\n", more=False)  # a repeat
    assert peer.hear("pipe_ack", channel=channel)["number"] == 9
    peer.say(type="pipe_end", channel=channel, error="")
    assert peer.result(1) == ("exited", 0, b"one\ntwo\n", b"")


def test_pipe_that_breaks_is_told_with_the_end_of_its_program(peer: Peer) -> None:
    peer.run(1, "cat", stdin="P")
    peer.say(type="pipe_end", channel=peer.hear("pipe")["channel"], error="it was silent for too long")
    done = peer.hear("done", serial=1)
    assert (done["outcome"], done["error"]) == ("exited", "a pipe of it broke: it was silent for too long")
    peer.run(2, "echo", "x", stdout="P")
    peer.say(type="pipe_end", channel=peer.hear("pipe")["channel"], error="too many pipes are open")
    assert peer.hear("done", serial=2)["error"] == "a pipe of it broke: too many pipes are open"


def test_reader_leaves_when_its_program_ends(peer: Peer) -> None:
    peer.run(1, "sh", "-c", "read line; echo got $line", stdin="P")
    channel = peer.hear("pipe")["channel"]
    for number in range(1, 20):
        peer.say(type="pipe_data", channel=channel, number=number, offset=0, data=b"line\n", more=False)
    peer.hear("pipe_end", channel=channel)
    assert peer.result(1)[2] == b"got line\n"
    peer.run(2, "true")
    assert peer.result(2)[0] == "exited"


def test_part_of_a_delivery_is_not_written_twice(guest: Guest, peer: Peer) -> None:
    peer.run(1, "cat", stdin="P")
    channel = peer.hear("pipe")["channel"]
    peer.say(type="pipe_data", channel=channel, number=1, offset=0, data=b"half ", more=True)
    assert peer.hear("data", serial=1, stream="stdout")["data"] == b"half "
    peer.close()
    second = guest.server.accept()
    second.begin()
    assert second.hear("pipe")["after"] == 0
    for stream in ("stdout", "stderr"):
        second.say(type="want", serial=1, stream=stream, offset=0)
    second.say(type="pipe_data", channel=channel, number=1, offset=0, data=b"half done\n", more=False)
    second.hear("pipe_ack", channel=channel)
    second.say(type="pipe_end", channel=channel, error="")
    assert second.result(1)[2] == b"half done\n"


def test_pipe_that_is_deleted_lets_its_writer_go_on(peer: Peer) -> None:
    peer.run(1, "sh", "-c", "yes | head -c 10000000", stdout="P")
    channel = peer.hear("pipe")["channel"]
    peer.say(type="pipe_end", channel=channel, error="the pipe is deleted")
    assert peer.hear("done", serial=1)["outcome"] == "exited"


# --- local users


def test_tag(guest: Guest, peer: Peer) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(guest.local, "-tag", "a key", "a value")
        tag = peer.hear("tag")
        assert (tag["key"], tag["value"]) == ("a key", "a value")
        peer.say(type="tagged", number=tag["number"], error="")
        assert ended.result().returncode == 0
        ended = pool.submit(guest.local, "-tag", "k", "v")
        peer.say(type="tagged", number=peer.hear("tag")["number"], error="not like this")
        assert (ended.result().returncode, ended.result().stderr) == (1, b"minibus-agent: not like this\n")


def test_tag_is_said_again_after_a_break(guest: Guest, peer: Peer) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(guest.local, "-tag", "k", "v")
        tag = peer.hear("tag")
        peer.close()
        second = guest.server.begin()
        assert second.hear("tag") == tag
        second.say(type="tagged", number=tag["number"], error="")
        assert ended.result().returncode == 0


def test_nobody_serves_the_guest(guest: Guest) -> None:
    result = guest.local("-tag", "k", "v")
    assert (result.returncode, result.stderr) == (1, b"minibus-agent: no agent runs in this guest\n")


def test_pipe_of_a_local_user(guest: Guest, peer: Peer) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(guest.local, "-pipe", "P", data=b"one\ntwo")
        reading = peer.hear("pipe", writes=False)["channel"]
        writing = peer.hear("pipe", writes=True)["channel"]
        peer.say(type="pipe_data", channel=reading, number=1, offset=0, data=b"hello\n", more=False)
        peer.hear("pipe_ack", channel=reading)
        lines = b""
        while lines != b"one\ntwo\n":
            number, data = written(peer, writing)
            lines += data
            assert not ended.done()
            peer.say(type="pipe_ack", channel=writing, number=number)
        result = ended.result()
        assert (result.returncode, result.stdout) == (0, b"hello\n")
        peer.hear("pipe_end", channel=reading)


def test_local_user_is_told_of_a_deleted_pipe(guest: Guest, peer: Peer) -> None:
    with subprocess.Popen(
        [*guest.program, "-path", str(guest.path), "-pipe", "P"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as user:
        channel = peer.hear("pipe", writes=True)["channel"]
        peer.say(type="pipe_end", channel=channel, error="the pipe is deleted")
        assert user.wait(PATIENCE_S) == 1
        assert user.stderr is not None
        assert user.stderr.read() == b"minibus-agent: the pipe is deleted\n"


def test_local_user_that_floods_is_held_back(guest: Guest, peer: Peer) -> None:
    with subprocess.Popen(
        ["sh", "-c", f"yes | {' '.join(guest.program)} -path {guest.path} -pipe P"], cwd=Path(__file__).parents[2]
    ) as user:
        channel = peer.hear("pipe", writes=True)["channel"]
        peer.until(lambda: sum(message["type"] == "pipe_data" for message in peer.heard) >= 16, "a window")
        peer.run(1, "true")
        assert peer.result(1)[0] == "exited"
        assert sum(message["type"] == "pipe_data" for message in peer.heard) < 64
        peer.say(type="pipe_end", channel=channel, error="enough")
        assert user.wait(PATIENCE_S) == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-nonsense"], "there is no flag -nonsense; -h lists them"),
        (["-tag", "key"], "-tag needs two words: a key and a value"),
        (["-port", "x"], "a port is a number from 1 to 65535, not `x`"),
        (["-level", "loud"], "-level is one of debug, info, warn, error, fatal, not `loud`"),
        (["-family", "ipx"], "-family is tcp or unix, not `ipx`"),
        (["-family", "tcp"], "-family tcp needs -parent: where the server is"),
        (["-uuid", "x"], "`x` is no UUID"),
        (["word"], "`word` is too much"),
        (["-v=maybe"], "-v is true or false, not `maybe`"),
        (["-pipe"], "-pipe needs a value"),
    ],
)
def test_wrong_command_line(guest: Guest, words: list[str], error: str) -> None:
    result = guest.local(*words)
    assert (result.returncode, result.stderr.decode()) == (2, f"minibus-agent: {error}\n")


# --- tunnels and probes


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a program that says back what it hears, and hangs up when it has heard everything."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        listener.settimeout(0.05)
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    thread.join()
    listener.close()


def carried(peer: Peer, connection: int) -> bytes:
    """What comes through a tunnel, until its end."""
    data = b""
    while True:
        message: Message = peer.hear_any(("carry", "shut"), connection=connection)
        if message["type"] == "shut":
            return data
        data += message["data"]
        peer.say(type="carried", connection=connection, bytes=len(message["data"]))


def test_tunnel_into_the_guest(peer: Peer, echo: int) -> None:
    peer.say(type="dial", connection=2, host="127.0.0.1", port=echo)
    assert peer.hear("dialed", connection=2)["error"] == ""
    data = os.urandom(1_000_000)
    for at in range(0, len(data), 65536):
        peer.say(type="carry", connection=2, data=data[at : at + 65536])
        peer.read(0.001)
        for message in [message for message in peer.heard if message["type"] == "carry"]:
            peer.say(type="carried", connection=2, bytes=len(message["data"]))
    peer.say(type="shut", connection=2)
    assert carried(peer, 2) == data


def test_what_is_carried_early_waits_for_the_connection(peer: Peer, echo: int) -> None:
    peer.say(type="dial", connection=2, host="127.0.0.1", port=echo)
    peer.say(type="carry", connection=2, data=b"early" * 1000)
    peer.say(type="shut", connection=2)
    assert peer.hear("dialed", connection=2)["error"] == ""
    assert carried(peer, 2) == b"early" * 1000


def test_tunnel_out_of_the_guest(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    peer.say(type="listen", tunnel=7, port=port)
    assert peer.hear("listening", tunnel=7)["error"] == ""
    with socket.create_connection(("127.0.0.1", port)) as program:
        dial = peer.hear("dial", tunnel=7)
        connection = dial["connection"]
        assert connection % 2 == 1
        peer.say(type="dialed", connection=connection, error="")
        program.sendall(b"request")
        program.shutdown(socket.SHUT_WR)
        assert carried(peer, connection) == b"request"
        peer.say(type="carry", connection=connection, data=b"answer")
        peer.say(type="shut", connection=connection)
        assert program.recv(100) == b"answer"
        assert program.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port)) as program:
        peer.say(type="hang_up", connection=peer.hear("dial")["connection"], error="nobody is there")
        assert program.recv(100) == b""
    peer.say(type="unlisten", tunnel=7)
    peer.say(type="listen", tunnel=8, port=port)  # in order, so 7 is closed by then
    assert peer.hear("listening", tunnel=8)["error"] == ""
    peer.say(type="listen", tunnel=9, port=port)
    assert peer.hear("listening", tunnel=9)["error"] == "Address already in use"


def test_tunnel_to_nobody(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    peer.say(type="dial", connection=2, host="127.0.0.1", port=port)
    assert peer.hear("dialed", connection=2)["error"] == "Connection refused"
    peer.say(type="dial", connection=4, host="no-such-name.invalid.", port=port)
    peer.say(type="dial", connection=6, host="not a name" + "x" * 300, port=port)
    assert "is no name of a host" in peer.hear("dialed", connection=6)["error"]


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "pass"), ("localhost", "pass")])
def test_probe_tcp(peer: Peer, echo: int, host: str, shown: str) -> None:
    peer.say(type="probe", serial=1, protocol="tcp", host=host, port=echo, wait_s=5.0)
    assert peer.output(1) == f"{host}:{echo} | {shown}\n".encode()
    assert peer.hear("done", serial=1)["code"] == 0


def test_probe_udp_and_failure(peer: Peer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE_S)
        port = server.getsockname()[1]
        peer.say(type="probe", serial=1, protocol="udp", host="127.0.0.1", port=port, wait_s=20.0, packet=b"hello")
        data, address = server.recvfrom(100)
        assert data == b"hello"
        server.sendto(b"answer", address)
        assert peer.output(1) == f"127.0.0.1:{port} | pass\n".encode()
    peer.say(type="probe", serial=2, protocol="tcp", host="127.0.0.1", port=port, wait_s=0.1)
    assert peer.output(2) == f"127.0.0.1:{port} | fail\n".encode()
    done = peer.hear("done", serial=2)
    assert (done["code"], done["error"]) == (1, "Connection refused")


def test_log_level(guest: Guest, peer: Peer) -> None:
    peer.say(type="level", serial=1, level="fatal")
    assert peer.hear("done", serial=1)["outcome"] == "exited"
    peer.say(type="confirm", serial=1)
    before = guest.log.read_text()
    peer.close()
    guest.server.begin()
    assert guest.log.read_text() == before
    second = guest.server.peers[-1]
    second.say(type="level", serial=2, level="loud")
    assert "it is not understood" in second.hear("done", serial=2)["error"]
