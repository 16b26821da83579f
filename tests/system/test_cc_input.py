"""What users get wrong, and what programs and disks in guests do: each is told in a sentence, nothing gets stuck."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cc_guests import Guests, guests_on, most_memory_mib, states
from tests.system.product import Product, one_sentence, product_on, until

COUNT = 2
LOUD_MIB = int(os.environ.get("MINIBUS_CC_LOUD_MIB", "100"))
SERVER_MIB = 60.0
MIB = 1024 * 1024

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, agent_rootfs: Path) -> Iterator[Product]:
    """One minibus for all; no actor may fall."""
    with product_on(tmp_path_factory.mktemp("cc"), agent_rootfs) as product:
        (product.base / "files").mkdir(exist_ok=True)
        yield product
        assert product.ps()["cc"]["restarts"] == 0


@pytest.fixture
def guests(product: Product) -> Iterator[Guests]:
    """Two guests."""
    with guests_on(product) as guests:
        guests.launch("a,b", COUNT)
        yield guests
        guests.answers()
        guests.console.ok("clear namespace", "clear cc", "vm kill all", "vm flush")


@pytest.fixture
def small_disk(base_dir: Path) -> Iterator[Path]:
    """Of a megabyte."""
    disk = base_dir / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "minibus-test", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_filter_that_nobody_matches(guests: Guests) -> None:
    for words in ("name=nobody", "os=plan9", "ip=192.0.2.0/24", "tag=colour:blue", "uuid=no-uuid"):
        guests.console.ok(f"cc filter {words}")
        (response,) = guests.console.command("cc exec hostname")
        assert one_sentence(response["Response"]).startswith("no guest matches the filter now")
        assert not response["Error"]
        begin = time.monotonic()
        assert guests.outcomes(response["Data"]) == {}
        guests.console.ok(f"cc wait {response['Data']}")
        assert time.monotonic() - begin < 10
    for words in ("nonsense", "=x", "ip=10.0.0.300", "ip=10.0.0.0/99", "tag="):
        one_sentence(guests.console.error(f"cc filter {words}"))
    guests.console.ok("clear cc filter", "cc filter name=a")
    rows = guests.wait(guests.post("cc exec hostname"), 1)
    assert set(rows) == {"a"} and states(rows) == {("exited", "")}


def test_a_guest_that_comes_to_match_gets_the_command(guests: Guests) -> None:
    guests.console.ok("cc filter colour=blue")
    number = guests.post("cc exec hostname")
    assert guests.outcomes(number) == {}
    guests.console.ok("vm tag b colour blue")
    assert set(guests.wait(number, 1)) == {"b"}


def test_guests_are_chosen_by_their_interfaces(guests: Guests) -> None:
    guests.console.ok("vm net add a LAN", "vm net add b LAN br2,OTHER")
    for words, names in {
        "vlan=OTHER": {"b"},
        "vlan=LAN": {"a", "b"},
        "bridge=br2 vlan=LAN": {"b"},
        "vlan=nowhere": set(),
    }.items():
        guests.console.ok(f"cc filter {words}")
        (response,) = guests.console.command("cc exec hostname")
        assert set(guests.wait(int(response["Data"]), len(names))) == names
        assert bool(response["Response"]) is not bool(names)
    guests.console.ok("cc filter vlan=OTHER", "vm net connect a 0 OTHER", "vm net disconnect b 1")
    assert set(guests.wait(guests.post("cc exec hostname"), 1)) == {"a"}
    assert set(guests.wait(1, 2)) == {"a", "b"}, "the first one is done by who has come to match, too"


def test_commands_that_cannot_be_meant(guests: Guests) -> None:
    for line in (
        "cc exec stdin=x",
        "cc exec stdin=x stdout=y stderr=z",
        "cc exec stdin= cat",
        'cc exec ""',
        "cc process kill nobody",
        "cc process list nobody",
        "cc responses 99",
        "cc responses nobody",
        "cc outcomes 99",
        "cc outcomes x",
        "cc wait 99",
        "cc wait 1 soon",
        "cc exitcode 99 a",
        "cc signal 99",
        "cc delete command 99",
        "cc delete command nobody",
        "cc listen x",
        "cc listen 70000",
        "clear cc listen 1",
        "cc tunnel nobody 9 localhost 9",
        "cc tunnel a x localhost 9",
        "cc tunnel close a 99",
        "cc test-conn tcp localhost 1 wait soon",
        "cc test-conn udp localhost 1 wait 1s ???",
    ):
        one_sentence(guests.console.error(line))
    number = guests.post("cc exec hostname")
    guests.wait(number, COUNT)
    one_sentence(guests.console.error(f"cc exitcode {number} nobody"))
    one_sentence(guests.console.error(f"cc signal {number} SIGNONSENSE"))


def test_files_that_cannot_be_sent(guests: Guests) -> None:
    files = guests.product.base / "files"
    (files / "empty").mkdir()
    os.mkfifo(files / "fifo")
    (files / "out").symlink_to("/etc/passwd")
    for name in ("none", "none*", "../minimega", "/etc/passwd", "sub/../../minimega", "empty", "fifo", "out", '""'):
        one_sentence(guests.console.error(f"cc send {name}"))
    assert guests.console.rows("cc commands") == []


def test_names_of_all_kinds_there_and_back(guests: Guests) -> None:
    files = guests.product.base / "files"
    contents = {
        "tree/with space": b"1\n",
        "tree/with\nnewline": b"2\n",
        "tree/deep/er/-rf": b"",
        "tree/deep/*": b"star\n",
        'tree/quote"s and $(true) `x`': b"3" * 70_000,
        "tree/\N{GREEK SMALL LETTER ALPHA}": b"4\n",
    }
    for name, content in contents.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(content)
    for line in ("cc send tree", "cc send tree/*", 'cc send "tree/with space"'):
        assert states(guests.run(line)) == {("exited", "")}
    number = guests.post("cc recv /tmp/miniccc/files/tree")
    rows = guests.wait(number, COUNT)
    assert states(rows) == {("exited", "")} and {row["files"] for row in rows.values()} == {len(contents)}
    for name, content in contents.items():
        for guest in guests.uuids:
            assert guests.inside(guest, f"/tmp/miniccc/files/{name}").read_bytes() == content
            assert guests.response(number, guest, f"/tmp/miniccc/files/{name}").read_bytes() == content
    text = guests.console.ok(f"cc responses {number}")
    assert "with\\nnewline:\n2\n" in text and "with\nnewline:" not in text
    (files / "tree/with space").write_bytes(b"another\n")
    assert states(guests.run("cc send tree")) == {("exited", "")}
    assert guests.inside("a", "/tmp/miniccc/files/tree/with space").read_bytes() == b"another\n"


def test_files_that_guests_do_not_have(guests: Guests) -> None:
    guests.run('cc exec sh -c "mkdir /d; mkfifo /d/fifo; ln -s /etc/passwd /d/link; echo x >/d/x; mkdir /void"')
    for path, wanted, count in (
        ("/none", "/none: no such file or directory", 0),
        ("/none*", "/none*: no such file or directory", 0),
        ("/void", "", 0),
        ("/dev/zero", "/dev/zero: ", 0),
        ("/d/fifo", "/d/fifo: ", 0),
        ("/d", "", 1),
    ):
        rows = guests.run(f"cc recv {path}")
        for row in rows.values():
            assert wanted in row.get("error", ""), (path, row)
            assert row.get("files", 0) >= count and row["state"] == ("failed" if wanted else row["state"]), (path, row)


def test_a_full_disk_in_a_guest(guests: Guests, small_disk: Path) -> None:
    """A file that does not fit is refused and nothing of it stays; there is room again for what is smaller."""
    files = guests.product.base / "files"
    (files / "fat").write_bytes(os.urandom(3 * MIB))
    (files / "thin").write_bytes(b"x\n")
    guests.console.ok(f"vm config volume /tmp/miniccc/files {small_disk}")
    guests.launch("small", COUNT + 1)
    guests.console.ok("cc filter name=small")
    rows = guests.wait(guests.post("cc send fat"), 1)
    assert rows["small"]["state"] == "failed" and "No space left on device" in rows["small"]["error"]
    assert list(small_disk.iterdir()) == []
    assert states(guests.wait(guests.post("cc send thin"), 1)) == {("exited", "")}
    assert (small_disk / "thin").read_bytes() == b"x\n"


def test_programs_that_are_not_there_or_cannot_run(guests: Guests) -> None:
    for line, wanted in (
        ("cc exec no-such-program", "command not found"),
        ("cc exec /no/such", "/no/such"),
        ("cc exec /etc", "/etc"),
        ("cc exec /etc/passwd", "/etc/passwd"),
    ):
        number = guests.post(line)
        for guest, row in guests.wait(number, COUNT).items():
            assert row["state"] == "failed" and wanted in one_sentence(row["error"]), row
            assert guests.console.ok(f"cc exitcode {number} {guest}") == "-1"
            assert row["error"] in guests.response(number, guest, "stderr").read_text()
    number = guests.post('cc exec sh -c "exit 7"')
    guests.wait(number, COUNT)
    assert guests.console.ok(f"cc exitcode {number} a") == "7"
    number = guests.post(r'cc exec sh -c "kill -9 \$\$"')
    assert {row["state"] for row in guests.wait(number, COUNT).values()} == {"signaled"}


def test_programs_that_fork_and_leave(guests: Guests) -> None:
    """The command has ended when its process has; who still holds its output does not block what follows."""
    begin = time.monotonic()
    number = guests.post('cc exec sh -c "(sleep 1000; echo late) & echo early"')
    rows = guests.wait(number, COUNT)
    assert states(rows) == {("exited", "")}
    assert guests.response(number, "a").read_text() == "early\n"
    assert states(guests.run('cc exec sh -c "setsid sleep 1000 </dev/null >/dev/null 2>&1 &"')) == {("exited", "")}
    assert states(guests.run("cc exec hostname")) == {("exited", "")}
    assert time.monotonic() - begin < 30


def test_programs_that_never_end(guests: Guests) -> None:
    number = guests.post("cc exec sleep 1000")
    behind = guests.post("cc exec hostname")
    begin = time.monotonic()
    (response,) = guests.console.command(f"cc wait {number} 1s")
    assert 0.9 < time.monotonic() - begin < 15
    assert one_sentence(response["Error"]).startswith("after 1s, ")
    guests.console.ok(f"cc signal {number}")
    rows = guests.wait(number, COUNT)
    assert {(row["state"], row["code"]) for row in rows.values()} == {("signaled", 15)}
    assert states(guests.wait(behind, COUNT)) == {("exited", "")}
    number = guests.post('cc exec sh -c "trap : TERM; while :; do sleep 1; done"')
    behind = guests.post("cc exec hostname")
    until(lambda: {row["state"] for row in guests.outcomes(number).values()} == {"running"}, "the program to run")
    guests.console.ok(f"cc signal {number}", f"cc signal {behind}", f"cc signal {number} KILL")
    assert {row["state"] for row in guests.wait(number, COUNT).values()} == {"signaled"}
    assert {row["state"] for row in guests.wait(behind, COUNT).values()} == {"killed"}


def test_programs_that_say_too_much(guests: Guests) -> None:
    guests.console.ok("cc filter name=a")
    number = guests.post(f'cc exec sh -c "yes minibus | head -c {LOUD_MIB}m"')
    rows = guests.wait(number, 1, 240)
    assert states(rows) == {("exited", "")} and rows["a"]["stdout"] == LOUD_MIB * MIB
    path = guests.response(number, "a")
    assert path.stat().st_size == LOUD_MIB * MIB
    (agent,) = guests.agents("a")
    assert most_memory_mib(agent) < 24
    assert most_memory_mib(guests.product.pid("cc")) < SERVER_MIB
    if LOUD_MIB > 16:
        assert "16 MiB" in one_sentence(guests.console.error(f"cc responses {number}"))
        assert most_memory_mib(guests.product.pid("cc")) < SERVER_MIB
    guests.console.ok(f"cc delete response {number}")
    until(lambda: not path.exists(), "the output to be removed")
    guests.console.ok("clear cc filter")
    ended = guests.post("cc exec yes")
    until(lambda: guests.response(ended, "b").exists(), "some output")
    guests.console.ok(f"cc signal {ended}")
    assert {row["state"] for row in guests.wait(ended, COUNT).values()} == {"signaled"}


def test_the_same_uuid_twice(guests: Guests) -> None:
    uuid = guests.uuids["a"]
    guests.console.ok(f"vm config uuid {uuid}")
    assert uuid in one_sentence(guests.console.error("vm launch container twin"))
    with guests_on(guests.product) as other:
        other.console.ok("namespace other", f"vm config uuid {uuid}", "vm config memory 32")
        other.console.ok(f"vm config filesystem {guests.product.rootfs}")
        try:
            other.launch("a", 1)
            assert guests.clients() == COUNT
            number = guests.post('cc exec sh -c "echo first >/who; cat /who"')
            second = other.post('cc exec sh -c "echo second >/who; cat /who"')
            assert set(guests.wait(number, COUNT)) == {"a", "b"}
            assert set(other.wait(second, 1)) == {"a"}
            assert guests.response(number, "a").read_text() == "first\n"
            path = other.product.base / "files" / "other" / "miniccc_responses" / str(second) / uuid / "stdout"
            assert path.read_text() == "second\n"
            assert "second" not in guests.console.ok("cc responses all")
        finally:
            other.console.ok("vm kill all", "vm flush", "namespace minimega", "clear namespace other")
