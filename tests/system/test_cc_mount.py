"""Containers mounted on this host: files of all kinds and names, many of them, large ones, and ends of every kind."""

from __future__ import annotations

import filecmp
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.files import guest_mount
from shims.linux import mountinfo
from tests.system.cc_guests import Guests, guests_on, most_memory_mib
from tests.system.product import one_sentence, product_on, run, until

MIB = 1024 * 1024
LARGE = 40 * MIB
MANY = 1000
ODD = ("a b", "quote'\"", "new\nline", "tab\t", "-rf", "*", "$HOME", "ü", os.fsdecode(b"\xff\xfe"), "n" * 255)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def guests(base_dir: Path, agent_rootfs: Path) -> Iterator[Guests]:
    """Two, a and b."""
    with product_on(base_dir, agent_rootfs) as product, guests_on(product) as guests:
        guests.launch("a,b", 2)
        yield guests


@pytest.fixture
def point(tmp_path: Path) -> Path:
    """An empty directory."""
    point = tmp_path / "mnt"
    point.mkdir()
    return point


def mounted() -> list[str]:
    """What guests are mounted on."""
    text = Path("/proc/self/mountinfo").read_text()
    return [one.point for one in mountinfo.read(text) if one.kind == guest_mount.KIND]


def row(guests: Guests) -> dict[str, str]:
    """Of the only mount."""
    (found,) = guests.console.rows("cc mount")
    return found


def test_the_host_and_the_guest_see_the_same_files(guests: Guests, point: Path, tmp_path: Path) -> None:
    """Until the guest is killed in the middle of a copy: then whoever copies hears of it at once."""
    guests.console.ok(f"cc mount a {point}")
    assert mounted() == [str(point)] and row(guests)["state"] == "mounted"
    inside = guests.inside("a", "/")
    for name in ODD:
        (point / "root" / name).write_text(name.encode(errors="surrogateescape").hex())
    assert sorted(path.name for path in (inside / "root").iterdir()) == sorted(ODD)
    assert all((inside / "root" / name).read_text() == os.fsencode(name).hex() for name in ODD)
    (inside / "many").mkdir()
    for number in range(MANY):
        (inside / "many" / f"f{number}").touch()
    assert len({path.stat().st_ino for path in (point / "many").iterdir()}) == MANY
    large = tmp_path / "large"
    large.write_bytes(os.urandom(LARGE))
    subprocess.run(["cp", large, point / "large"], check=True)
    assert filecmp.cmp(large, inside / "large", shallow=False)
    (inside / "other").symlink_to("large")
    subprocess.run(["mv", point / "large", point / "many" / "moved"], check=True)
    assert filecmp.cmp(large, point / "many" / "moved", shallow=False)
    assert Path("/proc/uptime").read_text().split()[0][:2] == (point / "proc/uptime").read_text()[:2]
    (agent,) = guests.agents("a")
    assert most_memory_mib(agent) < 40
    assert most_memory_mib(guests.product.pid("cc")) < 120
    endless = ["timeout", "30", "cp", "/dev/zero", str(point / "again")]
    with subprocess.Popen(endless, stderr=subprocess.PIPE, text=True) as copying:
        until(lambda: (inside / "again").exists(), "the copy to begin")
        guests.console.ok("vm kill a")
        _, said = copying.communicate(timeout=60)
    assert copying.returncode and "again" in said
    until(lambda: row(guests)["state"] == "lost" and not mounted(), "the mount to be gone")
    assert row(guests)["reason"] and list(point.iterdir()) == []
    guests.console.ok(f"cc mount b {point}", "clear cc mount")
    assert mounted() == [] and guests.console.rows("cc mount") == []


def test_nothing_is_left(guests: Guests, point: Path) -> None:
    """Of a mount whose guest is frozen, of one whose server is killed, and of one when everything is given up."""
    one_sentence(guests.console.error("cc mount a"))
    guests.console.ok(f"cc mount a {point}", "vm stop a")
    guests.console.ok("cc", f"clear cc mount {point}", "vm start a")
    assert mounted() == []
    guests.console.ok(f"cc mount a {point}")
    assert (point / "etc").is_dir()
    guests.product.replaced("cc", guests.product.kill("cc"), 30.0)
    guests.answers()
    until(lambda: not mounted(), "the mount of the old server to be gone")
    assert row(guests)["reason"] == "minibus was restarted"
    guests.connected(2)
    guests.console.ok(f"cc mount a {point}", "clear cc")
    assert mounted() == []
    guests.console.ok(f"cc mount a {point}")
    done = run("nuke", "--yes", "--base", guests.product.base)
    assert done.status == 0, done
    assert mounted() == [] and list(point.iterdir()) == []
