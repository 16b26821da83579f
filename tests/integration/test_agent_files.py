"""Files into a guest and out of it."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agent_server import Guest, Message, Peer, guest_in


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


NAMES = ["plain", "with space", "with\nnewline", "deep/er/file", "ünï", "-x", "empty"]


def done(peer: Peer, serial: int) -> Message:
    """The end of a transfer, confirmed."""
    message = peer.hear("done", serial=serial)
    peer.say(type="confirm", serial=serial)
    return message


# --- put


def test_put(guest: Guest, peer: Peer) -> None:
    files = {name: name.encode() * 30000 if name != "empty" else b"" for name in NAMES}
    peer.put(1, files, mode=0o750)
    for index, (name, data) in enumerate(files.items()):
        assert peer.feed_file(1, index, data) == 0
        peer.hear("ack", serial=1, stream=f"file/{index}", offset=len(data)) if data else None
        path = guest.files / name
        if data:
            assert path.read_bytes() == data
    assert done(peer, 1)["outcome"] == "exited"
    assert (guest.files / "empty").read_bytes() == b""
    assert (guest.files / "plain").stat().st_mode & 0o7777 == 0o750
    assert not list(guest.files.rglob("*.partial"))


def test_put_of_what_is_there_sends_nothing(guest: Guest, peer: Peer) -> None:
    data = os.urandom(100_000)
    peer.put(1, {"x": data})
    assert peer.feed_file(1, 0, data) == 0
    done(peer, 1)
    peer.put(2, {"x": data}, mode=0o600)
    assert peer.feed_file(2, 0, data) == len(data)
    assert done(peer, 2)["outcome"] == "exited"
    assert (guest.files / "x").stat().st_mode & 0o777 == 0o600
    newer = os.urandom(100_000)
    peer.put(3, {"x": newer})  # as long, and another
    assert peer.feed_file(3, 0, newer) == 0
    done(peer, 3)
    assert (guest.files / "x").read_bytes() == newer


def test_put_goes_on_after_a_break(guest: Guest, peer: Peer) -> None:
    data = os.urandom(1_000_000)
    peer.put(1, {"x": data})
    peer.hear("want", serial=1)
    for at in range(0, 5 * 65536, 65536):
        peer.say(type="data", serial=1, stream="file/0", offset=at, data=data[at : at + 65536], eof=False)
        peer.hear("ack", offset=at + 65536)
    peer.close()
    second = guest.server.accept()
    (record,) = second.begin()
    assert (record["serial"], record["state"]) == (1, "running")
    assert second.feed_file(1, 0, data) == 5 * 65536
    assert done(second, 1)["outcome"] == "exited"
    assert (guest.files / "x").read_bytes() == data


def test_put_goes_on_after_the_agent_was_killed(guest: Guest, peer: Peer) -> None:
    data = os.urandom(1_000_000)
    peer.put(1, {"x": data})
    peer.hear("want", serial=1)
    peer.say(type="data", serial=1, stream="file/0", offset=0, data=data[:65536], eof=False)
    peer.hear("ack", offset=65536)
    agent = guest.processes.pop()
    agent.kill()
    agent.wait()
    guest.start()
    second = guest.server.begin()
    second.put(1, {"x": data})
    assert second.feed_file(1, 0, data) == 65536
    assert done(second, 1)["outcome"] == "exited"
    assert (guest.files / "x").read_bytes() == data


def test_part_of_another_file_is_not_taken_for_this_one(guest: Guest, peer: Peer) -> None:
    data = os.urandom(200_000)
    guest.files.mkdir()
    (guest.files / "x.partial").write_bytes(b"something else")
    peer.put(1, {"x": data})
    assert peer.feed_file(1, 0, data) == 14
    assert peer.feed_file(1, 0, data) == 0
    assert done(peer, 1)["outcome"] == "exited"
    assert (guest.files / "x").read_bytes() == data


def test_part_that_is_longer_than_the_file(guest: Guest, peer: Peer) -> None:
    guest.files.mkdir()
    for name in ("x", "empty"):
        (guest.files / f"{name}.partial").write_bytes(b"something else")
    peer.put(1, {"x": b"short", "empty": b""})
    assert peer.feed_file(1, 0, b"short") == 0
    assert done(peer, 1)["outcome"] == "exited"
    assert (guest.files / "x").read_bytes() == b"short"
    assert (guest.files / "empty").read_bytes() == b""


def test_file_that_changed_under_way_is_not_put(guest: Guest, peer: Peer) -> None:
    peer.put(1, {"x": b"announced"})
    peer.feed_file(1, 0, b"different")
    end = done(peer, 1)
    assert end["outcome"] == "failed"
    assert "what arrived is not what was sent" in end["error"]
    assert list(guest.files.iterdir()) == []


def test_server_cannot_send_it(guest: Guest, peer: Peer) -> None:
    peer.put(1, {"x": b"announced", "y": b"fine"})
    peer.say(type="failed", serial=1, stream=peer.hear("want", stream="file/0")["stream"], error="it has gone")
    peer.feed_file(1, 1, b"fine")
    assert "it has gone" in done(peer, 1)["error"]
    assert [path.name for path in guest.files.iterdir()] == ["y"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../x", "", "a//b", "x\0y", "."])
def test_names_that_lead_elsewhere(guest: Guest, peer: Peer, name: str) -> None:
    peer.put(1, {name: b"x"})
    assert "is no name of a file below" in done(peer, 1)["error"]


def test_directory_in_the_way(guest: Guest, peer: Peer) -> None:
    (guest.files / "x").mkdir(parents=True)
    peer.put(1, {"x": b"data"})
    assert "there is a directory of this name" in done(peer, 1)["error"]


def test_link_in_the_way_is_replaced_and_not_followed(guest: Guest, peer: Peer, base_dir: Path) -> None:
    guest.files.mkdir()
    victim = base_dir / "victim"
    victim.write_text("untouched")
    (guest.files / "x").symlink_to(victim)
    (guest.files / "y.partial").symlink_to(victim)
    peer.put(1, {"x": b"data", "y": b"data"})
    peer.feed_file(1, 0, b"data")
    assert done(peer, 1)["outcome"] == "failed"
    assert victim.read_text() == "untouched"
    assert (guest.files / "x").read_text() == "data"
    assert not (guest.files / "x").is_symlink()


def test_too_large_for_the_disk(guest: Guest, peer: Peer) -> None:
    entry = {"name": "huge", "size": 1 << 60, "mode": 0o644, "sha256": "0" * 64}
    peer.say(type="put", serial=1, first=0, files=[entry], more=False)
    assert "No space left on device" in done(peer, 1)["error"]
    assert list(guest.files.iterdir()) == []


def test_list_in_several_parts(guest: Guest, peer: Peer) -> None:
    def entry(name: str) -> dict[str, object]:
        return {"name": name, "size": 1, "mode": 0o644, "sha256": hashlib.sha256(b"x").hexdigest()}

    peer.say(type="put", serial=1, first=0, files=[entry(f"f{n}") for n in range(10)], more=True)
    peer.say(type="put", serial=1, first=10, files=[entry(f"f{n}") for n in range(10, 20)], more=False)
    for index in range(20):
        peer.feed_file(1, index, b"x")
    assert done(peer, 1)["outcome"] == "exited"
    assert len(list(guest.files.iterdir())) == 20
    # Half a list is forgotten with its session, and can be said again.
    peer.say(type="put", serial=2, first=0, files=[entry("g0")], more=True)
    peer.hear("want", serial=2)
    peer.close()
    second = guest.server.begin()
    second.put(2, {"g0": b"x", "g1": b"x"})
    for index in range(2):
        second.feed_file(2, index, b"x")
    assert done(second, 2)["outcome"] == "exited"


def test_sent_program_runs_by_its_name(guest: Guest, peer: Peer) -> None:
    script = b"#!/bin/sh\necho sent\n"
    peer.put(1, {"program": script}, mode=0o755)
    peer.run(2, "program")
    peer.feed_file(1, 0, script)
    assert peer.result(2)[:3] == ("exited", 0, b"sent\n")


def test_transfer_is_taken_off(guest: Guest, peer: Peer) -> None:
    peer.put(1, {"x": bytes(1000)})
    peer.hear("want", serial=1)
    peer.say(type="signal", serial=1, signal=15)
    assert done(peer, 1)["outcome"] == "killed"
    peer.run(2, "true")
    assert peer.result(2)[0] == "exited"


# --- get


@pytest.fixture
def tree(base_dir: Path) -> Path:
    """Files of all kinds."""
    tree = base_dir / "tree"
    for name in NAMES:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode() * 30000)
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("plain")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "loop").symlink_to(".")
    return tree


def got(peer: Peer, serial: int, count: int) -> dict[str, bytes]:
    """So many announced files, by name."""
    found = {}
    for _ in range(count):
        message = peer.hear("file", serial=serial)
        assert message["error"] == ""
        found[message["name"]] = peer.got_file(message)
        assert message["size"] == len(found[message["name"]])
    return found


def test_get_directory(peer: Peer, tree: Path) -> None:
    peer.say(type="get", serial=1, patterns=[str(tree)])
    files = got(peer, 1, len(NAMES) + 1)
    assert done(peer, 1)["outcome"] == "exited"
    assert files == {str(tree / name): (tree / name).read_bytes() for name in [*NAMES, "link"]}


def test_get_globs(peer: Peer, tree: Path) -> None:
    peer.say(type="get", serial=1, patterns=[f"{tree}/pl*", f"{tree}/w?th*", f"{tree}/[-]x", f"{tree}/*/er/f[a-z]le"])
    names = {Path(name).name for name in got(peer, 1, 5)}
    assert names == {"plain", "with space", "with\nnewline", "-x", "file"}
    assert done(peer, 1)["outcome"] == "exited"


def test_get_what_cannot_be_sent(peer: Peer, tree: Path, base_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(base_dir / "socket"))
        patterns = ["/no/such", str(tree / "x*"), str(tree / "fifo"), "/dev/zero", str(base_dir / "socket")]
        peer.say(type="get", serial=1, patterns=[*patterns, str(tree / "dangling"), str(tree / "plain")])
        errors = [peer.hear("file", serial=1)["error"] for _ in range(6)]
    assert errors == [
        "no such file or directory",
        "no such file or directory",
        "a named pipe, not a file",
        "a device, not a file",
        "No such device or address",
        "no such file or directory",
    ]
    assert list(got(peer, 1, 1).values()) == [(tree / "plain").read_bytes()]
    end = done(peer, 1)
    assert end["outcome"] == "failed"
    assert end["error"] == "/no/such: no such file or directory (and 5 more)"


def test_get_files_without_a_size(peer: Peer) -> None:
    peer.say(type="get", serial=1, patterns=["/proc/version"])
    assert list(got(peer, 1, 1).values()) == [Path("/proc/version").read_bytes()]


def test_get_name_that_is_no_text(peer: Peer, base_dir: Path) -> None:
    path = os.fsencode(base_dir) + b"/\xff\xfe"
    Path(os.fsdecode(path)).write_text("x")
    peer.say(type="get", serial=1, patterns=[path])
    message = peer.hear("file", serial=1)
    assert message["name"] == path
    assert peer.got_file(message) == b"x"


def test_get_of_nothing_with_a_name_that_is_no_text(peer: Peer, base_dir: Path) -> None:
    os.mkfifo(os.fsencode(base_dir) + b"/\xff")
    for serial, path in ((1, b"/no/\xff"), (2, os.fsencode(base_dir) + b"/\xff")):
        peer.say(type="get", serial=serial, patterns=[path])
        assert peer.hear("file", serial=serial)["name"] == path
        end = done(peer, serial)
        assert end["outcome"] == "failed" and end["error"].startswith(path.decode("utf-8", "backslashreplace"))


def test_get_file_that_grows_and_one_that_shrinks(peer: Peer, base_dir: Path) -> None:
    grows, shrinks = base_dir / "grows", base_dir / "shrinks"
    grows.write_bytes(b"x" * 100_000)
    shrinks.write_bytes(b"y" * 10_000_000)
    peer.say(type="get", serial=1, patterns=[str(grows), str(shrinks)])
    first = peer.hear("file", index=0)
    peer.hear("file", index=1)
    with grows.open("ab") as file:
        file.write(b"more")
    os.truncate(shrinks, 1000)
    assert peer.got_file(first) == b"x" * 100_000
    peer.say(type="want", serial=1, stream="file/1", offset=0)
    assert peer.hear("failed", stream="file/1")["error"] == "it has become shorter while it was read"
    assert done(peer, 1)["error"] == f"{shrinks}: it has become shorter while it was read"


def test_get_of_a_file_that_vanishes(peer: Peer, base_dir: Path) -> None:
    path = base_dir / "vanishes"
    path.write_bytes(os.urandom(1_000_000))
    content = path.read_bytes()
    peer.say(type="get", serial=1, patterns=[str(path)])
    message = peer.hear("file", index=0)
    path.unlink()
    assert peer.got_file(message) == content


def test_get_goes_on_after_a_break(guest: Guest, peer: Peer, base_dir: Path) -> None:
    path = base_dir / "large"
    path.write_bytes(os.urandom(3_000_000))
    content = path.read_bytes()
    peer.say(type="get", serial=1, patterns=[str(path)])
    peer.hear("file", index=0)
    peer.say(type="want", serial=1, stream="file/0", offset=0)
    peer.hear("data")
    peer.say(type="ack", serial=1, stream="file/0", offset=65536)
    time.sleep(0.1)
    peer.close()
    second = guest.server.accept()
    (record,) = second.begin()
    assert record["state"] == "running"
    assert second.got_file(second.hear("file", index=0), 65536, content) == content
    assert done(second, 1)["outcome"] == "exited"


def test_get_goes_on_after_the_agent_was_killed(guest: Guest, peer: Peer, base_dir: Path) -> None:
    path = base_dir / "large"
    path.write_bytes(os.urandom(20_000_000))
    content = path.read_bytes()
    peer.say(type="get", serial=1, patterns=[str(path)])
    peer.hear("file", index=0)
    agent = guest.processes.pop()
    agent.kill()
    agent.wait()
    guest.start()
    second = guest.server.begin()
    second.say(type="get", serial=1, patterns=[str(path)])
    have = 15 * 1024 * 1024 + 7
    assert second.got_file(second.hear("file", index=0), have, content) == content
    assert done(second, 1)["outcome"] == "exited"


def test_get_of_what_the_server_has_already(peer: Peer, base_dir: Path) -> None:
    path = base_dir / "x"
    path.write_bytes(b"content")
    peer.say(type="get", serial=1, patterns=[str(path)])
    assert peer.got_file(peer.hear("file", index=0), 7, b"content") == b"content"
    assert done(peer, 1)["outcome"] == "exited"


def test_server_refuses_a_file(peer: Peer, base_dir: Path) -> None:
    path = base_dir / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    peer.say(type="get", serial=1, patterns=[str(path)])
    assert peer.hear("file", index=0)["size"] == 1 << 40
    peer.say(type="failed", serial=1, stream="file/0", error="it is too large")
    assert done(peer, 1)["error"] == f"{path}: it is too large"


def test_get_many_files(peer: Peer, base_dir: Path) -> None:
    many = base_dir / "many"
    many.mkdir()
    for number in range(1000):
        (many / f"f{number:04}").write_text(str(number))
    peer.say(type="get", serial=1, patterns=[str(many)])
    assert list(got(peer, 1, 1000).values()) == [str(number).encode() for number in range(1000)]
    assert done(peer, 1)["outcome"] == "exited"
    peer.say(type="get", serial=2, patterns=[f"/no/{number}" for number in range(1000)])
    assert done(peer, 2)["error"] == "/no/0: no such file or directory (and 999 more)"
