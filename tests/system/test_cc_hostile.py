"""Containers whose agents mean harm: all others are served, and nothing is written or read that is not theirs."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cc_guests import RESPONSES, Guests, guests_on, most_memory_mib, states
from tests.system.hostile_agent import KINDS
from tests.system.product import Product, product_on, until

GOOD = int(os.environ.get("MINIBUS_CC_GUESTS", "20"))
ROUNDS = 5
SERVER_MIB = 150.0
PATIENCE_S = 120.0
SECRET = b"only for the good"
PYTHON = Path(sys.executable).resolve()
VOLUMES = {
    "/lib": "/usr/lib",
    "/lib64": "/usr/lib64",
    "/usr": "/usr",
    "/site": sysconfig.get_path("platlib"),
    "/evil": str(Path(__file__).parent),
}
"""The tests' Python in a container."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def guests(base_dir: Path, agent_rootfs: Path) -> Iterator[Guests]:
    """Good ones, connected."""
    with product_on(base_dir, agent_rootfs) as product, guests_on(product) as guests:
        guests.launch(f"good[1-{GOOD}]", GOOD, PATIENCE_S)
        yield guests


def launch_bad(guests: Guests) -> None:
    """One of each kind."""
    volumes = dict(VOLUMES)
    if not PYTHON.is_relative_to("/usr"):
        volumes[sys.base_prefix] = sys.base_prefix
    for inside, outside in volumes.items():
        guests.console.ok(f"vm config volume {inside} {outside}")
    victim = guests.uuids["good1"]
    for kind in KINDS:
        command = f"/bin/env PYTHONPATH=/site VICTIM={victim} {PYTHON} -S /evil/hostile_agent.py {kind}"
        guests.console.ok(f"vm config init {command}", f"vm launch container {kind}")
    guests.console.ok(f"vm start {','.join(KINDS)}")
    guests.look()
    until(lambda: all(done(guests, kind) for kind in KINDS if kind not in ("names", "thief")), "all to be at it")


def done(guests: Guests, kind: str) -> int:
    """How often one has done its worst."""
    said = guests.inside(kind, "/said")
    return len(said.read_text().split()) if said.exists() else 0


def outside(product: Product) -> set[str]:
    """All that is on the disk and is no guest's, no response, and no working file of minibus."""
    own = ("state", "run", "bus", "log")
    found = set()
    for path in product.base.rglob("*"):
        top = path.relative_to(product.base).parts
        if not (top[0].isdecimal() or top[0] in own or top[:2] == ("files", "miniccc_responses")):
            found.add(str(path))
    return found | {str(path) for path in (Path("/x"), Path("/tmp/x")) if path.exists()}


def test_whatever_they_do(guests: Guests) -> None:
    product = guests.product
    (product.base / "files").mkdir(exist_ok=True)
    (product.base / "files" / "secret").write_bytes(SECRET)
    good = list(guests.uuids)
    before = outside(product)
    launch_bad(guests)
    for name in good:
        guests.console.ok(f"vm tag {name} kind good")
    slowest_s = 0.0
    for _ in range(ROUNDS):
        guests.console.ok("clear cc filter")
        for_all = guests.post("cc exec hostname"), guests.post("cc recv /etc/passwd")
        guests.console.ok("cc filter kind=good")
        begin = time.monotonic()
        assert states(guests.wait(guests.post("cc send secret"), GOOD, PATIENCE_S)) == {("exited", "")}
        number = guests.post("cc exec cat /tmp/miniccc/files/secret")
        rows = guests.wait(number, GOOD, PATIENCE_S)
        slowest_s = max(slowest_s, time.monotonic() - begin)
        assert set(rows) == set(good) and states(rows) == {("exited", "")}
        for name in good:
            assert guests.response(number, name).read_bytes() == SECRET
            assert guests.response(for_all[0], name).read_text() == f"{name}\n"
            assert (
                guests.response(for_all[1], name, "/etc/passwd").read_bytes()
                == (product.rootfs / "etc/passwd").read_bytes()
            )
    until(lambda: bool(evil_files(guests)), "the files with sound names")
    until(lambda: done(guests, "thief") > 0, "the thief")
    print(f"slowest round {slowest_s:.1f} s, { ({kind: done(guests, kind) for kind in KINDS}) }")  # noqa: T201
    guests.console.ok("clear cc filter", f"vm kill {','.join(KINDS)}")
    assert outside(product) == before
    only_their_own(guests)
    stolen = guests.inside("thief", "/stolen")
    assert not stolen.exists() or SECRET not in stolen.read_bytes()
    assert most_memory_mib(product.pid("cc")) < SERVER_MIB
    assert sum(path.stat().st_size for path in (product.base / "state" / "cc").iterdir()) < 20_000_000
    assert {name: entry["restarts"] for name, entry in product.ps().items() if entry["restarts"]} == {}
    guests.console.ok("clear cc responses")
    until(lambda: not (product.base / RESPONSES).exists(), "all responses to be removed")


def evil_files(guests: Guests) -> list[Path]:
    """What the one has sent that lies about names."""
    sent = (guests.product.base / RESPONSES).glob("[0-9]*/[!.]*/**/*")
    return [path for path in sent if path.is_file() and path.read_bytes() == b"evil\n"]


def only_their_own(guests: Guests) -> None:
    """Responses lie under a command and a UUID that there is; they are plain files of no special rights."""
    root = guests.product.base / RESPONSES
    uuids = {*guests.uuids.values(), ".partial"}
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        assert parts[0].isdecimal() and (len(parts) < 2 or parts[1] in uuids), path
        mode = path.lstat().st_mode
        assert stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not mode & 0o7000), path
    assert {path.relative_to(root).parts[1] for path in evil_files(guests)} == {guests.uuids["names"]}
