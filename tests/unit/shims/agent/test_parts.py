"""The pure parts of the guest agent: patterns, names, flags, addresses, clock, lines."""

from __future__ import annotations

import fnmatch
import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.agent import interfaces_linux, platform_linux
from shims.agent.__main__ import endpoints
from shims.agent.commands import globs
from shims.agent.commands.putting import PutError, place_of
from shims.agent.flags import FlagError, parse
from shims.agent.line import names
from shims.agent.line.streams import BufferStream
from shims.agent.line.wire import CHUNK
from shims.agent.loop import FROZEN_AFTER_S, Loop, RunningClock
from shims.agent.pipes import MAX_DELIVERY, Lines
from shims.agent.processes import SpawnError, find_program

# --- patterns

ALPHABET = "ab-]![^*?"


@given(st.text("ab-]!", min_size=1, max_size=8), st.text(ALPHABET, max_size=8))
def test_patterns_match_as_fnmatch_has_it(name: str, pattern: str) -> None:
    if "[^" in pattern:
        return  # the shell's, which fnmatch does not know
    assert globs.matches(name.encode(), pattern.encode()) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("x", "[^y]", True),
        ("y", "[^y]", False),
        (".hidden", "*", False),
        (".hidden", ".*", True),
        ("a" * 2000, "*a" * 50 + "b", False),  # no exponential search
        ("[", "[", True),
    ],
)
def test_patterns(name: str, pattern: str, expected: bool) -> None:
    assert globs.matches(name.encode(), pattern.encode()) is expected


def test_expand(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b", "[x]", "d/e/f", "d/e/g"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    def expand(pattern: str) -> list[str]:
        base = os.fsencode(tmp_path)
        return [os.fsdecode(path)[len(base) + 1 :] for path in globs.expand(base + b"/" + pattern.encode())]

    assert expand("a*") == ["a1", "a2"]
    assert expand("[x]") == ["[x]"]  # it is there, so it means itself
    assert expand("*/e/?") == ["d/e/f", "d/e/g"]
    assert expand("*/*") == ["d/e"]
    assert expand("none") == expand("no*") == []
    assert list(globs.expand(b"")) == list(globs.expand(b"a\0*")) == []


# --- names of hosts


def reply(kind: int, address: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    """What a name server says of www.example."""
    question = names.query("www.example", kind, 7)[12:]
    answer = name + struct.pack("!HHIH", kind, 1, 60, len(address)) + address
    return struct.pack("!6H", 7, 0x8180, 1, 1, 0, 0) + question + answer


def test_addresses_in_replies() -> None:
    assert names.address_in(reply(1, b"\x0a\0\0\1"), 1) == "10.0.0.1"
    assert names.address_in(reply(28, bytes(15) + b"\1"), 28) == "::1"
    assert names.address_in(reply(1, b"\x0a\0\0\1"), 28) == ""
    assert names.address_in(reply(1, b"\x0a\0\0\1", b"\3www\0"), 1) == "10.0.0.1"


@given(st.binary(max_size=80), st.integers(0, 80))
def test_replies_that_are_none(garbage: bytes, cut: int) -> None:
    for packet in (garbage, reply(1, b"\x0a\0\0\1")[:cut], struct.pack("!6H", 1, 0, 9, 9, 0, 0) + garbage):
        try:
            names.address_in(packet, 1)
        except ValueError:
            continue


def test_host_names() -> None:
    assert names.query("a.b", 1, 5) == b"\0\5\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1"
    for bad in ("", "a..b", "x" * 64, "é", "a." * 200):
        with pytest.raises(ValueError):
            names.query(bad, 1, 1)
    assert names.literal("10.0.0.1") == "10.0.0.1"
    assert names.literal("::1") == "::1"
    assert names.literal("host") == ""
    assert names.nameservers("# x\nnameserver 10.0.0.1\nsearch y\nnameserver\nnameserver fe80::1%eth0\n") == [
        "10.0.0.1"
    ]


# --- the command line


def test_flags_as_minimega_has_them() -> None:
    flags = parse(["-v=false", "-family", "unix", "-parent", "/cc", "-logfile", "/miniccc.log"])
    assert (flags.v, flags.family, flags.parent, flags.logfile) == (False, "unix", "/cc", "/miniccc.log")
    assert [str(endpoint) for endpoint in endpoints(flags)] == ["/cc"]
    flags = parse(["--parent=host", "--port=9003"])
    assert [str(endpoint) for endpoint in endpoints(flags)] == ["host:9003"]
    assert [str(endpoint) for endpoint in endpoints(parse(["-serial", "/dev/x", "-parent", "h"]))] == ["/dev/x"]
    assert [str(endpoint) for endpoint in endpoints(parse([]))] == list(platform_linux.DEFAULT_PATHS)
    assert parse(["-tag", "-path", "/p", "key", "-value"]).words == ["key", "-value"]
    assert parse(["-tag", "--", "-key", "value"]).words == ["-key", "value"]


@given(st.lists(st.text("-=vtagp x1", max_size=6), max_size=5))
def test_any_command_line_is_understood_or_refused_in_a_sentence(words: list[str]) -> None:
    try:
        parse(words)
    except FlagError as error:
        assert len(str(error)) > 5


def test_uuids() -> None:
    good = "5d1b8a5a-54cb-4cd5-9d05-0c4e1f5d2f0a"
    assert platform_linux.checked_uuid(f" {good.upper()}\n") == good
    for bad in ("", "x", good[:-1], good + "0", good.replace("5", "g"), good.replace("-", "")):
        assert platform_linux.checked_uuid(bad) == ""


# --- addresses


def attribute(kind: int, data: bytes) -> bytes:
    """One of netlink's, padded."""
    return (struct.pack("=HH", 4 + len(data), kind) + data).ljust((4 + len(data) + 3) & ~3, b"\0")


def test_addresses_of_interfaces_with_a_mac() -> None:
    def link(index: int, mac: bytes) -> tuple[int, bytes]:
        return 16, struct.pack("=BxHiII", 0, 1, index, 0, 0) + attribute(3, b"eth0\0") + attribute(1, mac)

    def address(index: int, family: int, raw: bytes) -> tuple[int, bytes]:
        return 20, struct.pack("=BBBBI", family, 24, 0, 0, index) + attribute(1, raw)

    links = [link(1, bytes(6)), link(2, b"\x02\0\0\0\0\x0a")]
    found = [
        address(1, socket.AF_INET, b"\x7f\0\0\1"),
        address(2, socket.AF_INET, b"\x0a\0\0\2"),
        address(2, socket.AF_INET6, b"\xfe\x80" + bytes(13) + b"\1"),
        address(3, socket.AF_INET, b"\x0a\0\0\3"),
    ]
    assert interfaces_linux.parse(links, found) == (["10.0.0.2", "fe80::1"], ["02:00:00:00:00:0a"])


@given(st.lists(st.tuples(st.sampled_from([16, 20]), st.binary(max_size=40))))
def test_any_answer_of_the_kernel(messages: list[tuple[int, bytes]]) -> None:
    interfaces_linux.parse(messages, messages)


# --- the rest


def test_clock_leaves_out_what_passed_while_the_guest_was_frozen() -> None:
    clock = RunningClock(100.0)
    clock.advance(101.0, 5.0)
    assert clock.running_s == 1.0
    clock.advance(101.0 + 5.0 + FROZEN_AFTER_S - 0.1, 5.0)
    assert clock.running_s == pytest.approx(1.0 + 5.0 + FROZEN_AFTER_S - 0.1)
    before = clock.running_s
    clock.advance(4000.0, 5.0)
    assert clock.running_s == before + 5.0
    clock.advance(5000.0, None)  # nobody had asked to be woken
    assert clock.running_s == before + 5.0 + 1000.0


def test_loop_goes_on_after_an_error() -> None:
    errors: list[Exception] = []
    loop = Loop(errors.append)
    calls: list[str] = []
    loop.call_later(0, lambda: calls.append("first"))
    loop.call_later(0, lambda: calls.append(str(1 // 0)))
    loop.call_later(0, lambda: calls.append("last"))
    loop.call_later(0, lambda: calls.append("never")).cancel()
    loop.call_later(0.001, loop.stop)
    loop.run()
    assert calls == ["first", "last"]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_lines() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == b"one\n"
    assert lines.feed(b"o\nthree") == b"two\n"
    assert lines.last() == b"three\n"
    assert lines.last() == b""
    found = b"".join(filter(None, (lines.feed(b"x" * CHUNK) for _ in range(40)))) + lines.last()
    assert found.replace(b"\n", b"") == b"x" * CHUNK * 40
    assert max(map(len, found.split(b"\n"))) < MAX_DELIVERY


def test_places_of_files() -> None:
    assert place_of("a b/c\nd", "/f") == b"/f/a b/c\nd"
    assert place_of(b"\xff", "/f") == b"/f/\xff"
    for bad in ("", "/", "/a", "a/", "a//b", "..", "a/..", "./a", "a\0"):
        with pytest.raises(PutError):
            place_of(bad, "/f")


def test_find_program(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for directory in (first, second):
        directory.mkdir()
        (directory / "p").write_text("")
    (second / "p").chmod(0o755)
    (first / "d").mkdir()
    directories = [os.fsencode(first), os.fsencode(second)]
    assert find_program(b"p", directories) == os.fsencode(second / "p")
    assert find_program(b"./p", directories) == b"./p"
    with pytest.raises(SpawnError, match="d: command not found in"):
        find_program(b"d", directories)
    with pytest.raises(SpawnError, match="1/p is not executable"):
        find_program(b"p", directories[:1])


@given(st.lists(st.integers(1, 3 * CHUNK), max_size=4), st.data())
def test_stream_is_whole_whatever_is_asked_for_again(sizes: list[int], data: st.DataObject) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream = BufferStream(1, "stdout", held=False, on_sent=lambda: None)
    for chunk in chunks:
        stream.add(chunk)
    stream.end()
    whole, got = b"".join(chunks), bytearray()
    while not stream.is_sent or len(got) < len(whole):
        message = stream.next_data(CHUNK)
        if message is not None and message["offset"] == len(got):
            got += message["data"]
        if data.draw(st.booleans()) or message is None:
            stream.acknowledge(len(got))
        if data.draw(st.integers(0, 9)) == 9:
            stream.hold()
            assert stream.next_data(CHUNK) is None
            stream.want(len(got))
    assert bytes(got) == whole
