"""What flows between guests and others: pipes from program to program, tunnels into guests and out of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.system.cc_guests import Guests, guests_on, states
from tests.system.product import MINIBUS, CommandError, one_sentence, product_on, until

GUEST_PORT = 7777
MIB = 1024 * 1024
MANY = 100

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def guests(base_dir: Path, agent_rootfs: Path) -> Iterator[Guests]:
    """Two, with an echo server in each."""
    with product_on(base_dir, agent_rootfs) as product, guests_on(product) as guests:
        guests.launch("a,b", 2)
        yield guests


def only(guests: Guests, name: str) -> None:
    """Commands are for this guest."""
    guests.console.ok(f"cc filter name={name}")


def readers(guests: Guests, pipe: str) -> int:
    """Of a pipe."""
    return sum(int(row["readers"]) for row in guests.console.rows("pipe") if row["name"] == pipe)


def take(guests: Guests) -> int:
    """Have guest b write to its file /got whatever comes through the pipe `between`."""
    only(guests, "b")
    number = guests.post('cc exec stdin=between sh -c "exec cat >/got"')

    def reads() -> bool:
        rows = guests.outcomes(number)
        assert rows["b"]["state"] in ("waiting", "running"), rows
        return readers(guests, "between") == 1

    until(reads, "the reader in the other guest")
    return number


# ---------------------------------------------------------------- pipes


def test_one_guests_output_is_anothers_input(guests: Guests) -> None:
    lines = 20_000
    taker = take(guests)
    only(guests, "a")
    giver = guests.post(f"cc exec stdout=between seq {lines}")
    assert states(guests.wait(giver, 1)) == {("exited", "")}
    wanted = "".join(f"{number}\n" for number in range(1, lines + 1))
    until(lambda: guests.inside("b", "/got").read_text() == wanted, "all lines")
    assert guests.outcomes(taker)["b"]["state"] == "running"
    guests.console.ok("clear pipe between")
    assert states(guests.wait(taker, 1)) == {("exited", "")}
    assert not guests.response(giver, "a").exists()


def test_the_last_line_is_never_lost(guests: Guests) -> None:
    with subprocess.Popen(
        [MINIBUS, "pipe", "--base", guests.product.base, "--read", "last"], stdout=subprocess.PIPE
    ) as reader:
        try:
            until(lambda: readers(guests, "last") == 1, "the reader")
            for number in range(20):
                guests.post(f"cc exec stdout=last echo {number}")
            guests.wait(guests.post("cc exec stdout=last printf end"), 2)
            guests.console.ok("clear pipe last")
            out, _ = reader.communicate(timeout=60)
        finally:
            reader.kill()
    wanted = sorted([*map(str, range(20)), "end"] * 2)
    assert sorted(out.decode().split()) == wanted


@pytest.mark.parametrize("victim", ["cc", "plumber"])
def test_lines_of_a_pipe_outlive_a_crash(guests: Guests, victim: str) -> None:
    """Each line arrives at least once, in order, also if what lies between was killed."""
    take(guests)
    only(guests, "a")
    loop = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; usleep 5000; done".replace("$", r"\$")
    giver = guests.post(f'cc exec stdout=between sh -c "{loop}"')
    got = guests.inside("b", "/got")
    until(lambda: got.exists() and got.read_text() != "", "the first lines")
    guests.product.replaced(victim, guests.product.kill(victim), 30.0)
    guests.answers()
    assert states(guests.wait(giver, 1)) == {("exited", "")}
    until(lambda: got.read_text().endswith("300\n"), "the last line")
    seen: list[int] = []
    for line in got.read_text().split():
        number = int(line)
        assert number <= (seen[-1] if seen else 0) + 1, f"{number} after {seen[-1:]}"
        seen.append(number)
    assert set(seen) == set(range(1, 301))


# ---------------------------------------------------------------- tunnels


def serve_in(guests: Guests, name: str, program: str) -> None:
    """A TCP server in a guest, whose programs have the connection as input and output."""
    only(guests, name)
    number = guests.post(f"cc background nc -ll -p {GUEST_PORT} -e {program}")
    until(lambda: guests.outcomes(number)[name]["state"] == "running", "the server in the guest")
    guests.console.ok("clear cc filter")


def talk(port: int, said: bytes) -> bytes:
    """Say something and no more; all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:

        def write() -> None:
            with contextlib.suppress(OSError):  # whoever reads meets it as well
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        finally:
            writer.join()
        return answer


def answers_with(port: int, said: bytes) -> Callable[[], bool]:
    """Whether an echo comes back."""

    def ask() -> bool:
        with contextlib.suppress(OSError):
            return talk(port, said) == said
        return False

    return ask


def test_a_tunnel_into_a_guest(guests: Guests) -> None:
    serve_in(guests, "a", "cat")
    port = free_port()
    guests.console.ok(f"cc tunnel a {port} 127.0.0.1 {GUEST_PORT}")
    until(answers_with(port, b"hello\n"), "the echo server")
    large = os.urandom(4 * MIB)
    assert talk(port, large) == large
    with contextlib.ExitStack() as stack:
        for number in range(MANY):  # one by one: the server in the guest has no queue
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            connection.sendall(b"%d\n" % number)
            assert connection.recv(100) == b"%d\n" % number
        (row,) = guests.console.rows("cc tunnel list a")
        assert (row["vm"], row["src port"], row["connections"]) == ("a", str(port), str(MANY))
    until(lambda: guests.console.rows("cc tunnel list all")[0]["connections"] == "0", "the connections to be over")
    one_sentence(guests.console.error(f"cc tunnel b {port} 127.0.0.1 {GUEST_PORT}"))
    guests.product.replaced("cc", guests.product.kill("cc"), 30.0)
    until(answers_with(port, b"again\n"), "the tunnel after a crash")
    (row,) = guests.console.rows("cc tunnel list all")
    guests.console.ok(f"cc tunnel close a {row['id']}")
    with pytest.raises(ConnectionRefusedError):
        talk(port, b"")
    assert guests.console.rows("cc tunnel list all") == []


def test_a_tunnel_to_nobody_is_refused(guests: Guests) -> None:
    port = free_port()
    guests.console.ok(f"cc tunnel a {port} 127.0.0.1 9")
    begin = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert talk(port, b"hello") == b""
    assert time.monotonic() - begin < 30


def test_a_tunnel_out_of_guests(guests: Guests) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        guests.console.ok(f"cc rtunnel {GUEST_PORT} 127.0.0.1 {server.getsockname()[1]}")
        number = guests.post(f'cc exec sh -c "hostname | nc 127.0.0.1 {GUEST_PORT}"')
        heard = set()
        for _ in guests.uuids:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                said = b""
                while not said.endswith(b"\n"):
                    data = connection.recv(100)
                    assert data
                    said += data
                heard.add(said)
                connection.sendall(b"to " + said)
        assert heard == {b"a\n", b"b\n"}
        assert states(guests.wait(number, 2)) == {("exited", "")}
        assert guests.response(number, "a").read_text() == "to a\n"
        with contextlib.suppress(CommandError):
            for row in guests.console.rows("cc tunnel list all"):
                guests.console.ok(f"cc tunnel close {row['vm']} {row['id']}")
        assert guests.console.rows("cc tunnel list all") == []
