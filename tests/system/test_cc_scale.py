"""Many guests, and large files. MINIBUS_CC_GUESTS=500 and MINIBUS_CC_LARGE_MIB=1024 make it larger."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cc_guests import Guests, guests_on, most_memory_mib, states
from tests.system.product import product_on

GUESTS = int(os.environ.get("MINIBUS_CC_GUESTS", "100"))
LARGE_MIB = int(os.environ.get("MINIBUS_CC_LARGE_MIB", "200"))
FILE_MIB = 10
MIB = 1024 * 1024
SERVER_MIB = 60 + GUESTS * 0.3
"""Most memory that the server may ever have."""
AGENT_MIB = 24
PATIENCE_S = 120.0 + GUESTS

pytestmark = pytest.mark.timeout(2400)


@pytest.fixture
def guests(base_dir: Path, agent_rootfs: Path) -> Iterator[Guests]:
    """No guest yet."""
    with product_on(base_dir, agent_rootfs) as product, guests_on(product) as guests:
        yield guests


def write_random(path: Path, mib: int) -> str:
    """A file of so many MiB; its digest."""
    digest = hashlib.sha256()
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for _ in range(mib):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_all_answer_and_all_get_a_file(guests: Guests) -> None:
    guests.launch(f"many[1-{GUESTS}]", GUESTS, PATIENCE_S)
    number = guests.post("cc exec hostname")
    rows = guests.wait(number, GUESTS, PATIENCE_S)
    assert states(rows) == {("exited", "")} and set(rows) == set(guests.uuids)
    for name in guests.uuids:
        assert guests.response(number, name).read_text() == f"{name}\n"
    text = guests.console.ok(f"cc responses {number}")
    assert text == "".join(
        f"{number}/{uuid}/stdout:\n{name}\n\n" for name, uuid in sorted(guests.uuids.items(), key=lambda item: item[1])
    )
    digest = write_random(guests.product.base / "files" / "image", FILE_MIB)
    assert states(guests.run("cc send image", PATIENCE_S)) == {("exited", "")}
    assert {digest_of(guests.inside(name, "/tmp/miniccc/files/image")) for name in guests.uuids} == {digest}
    assert most_memory_mib(guests.product.pid("cc")) < SERVER_MIB
    guests.console.ok("vm kill all", "vm flush")
    guests.connected(0)
    assert guests.product.ps()["cc"]["restarts"] == 0


def test_a_large_file_there_and_back(guests: Guests) -> None:
    guests.console.ok("vm config memory 64")
    guests.launch("one", 1)
    digest = write_random(guests.product.base / "files" / "large", LARGE_MIB)
    assert states(guests.run("cc send large", PATIENCE_S + LARGE_MIB)) == {("exited", "")}
    assert digest_of(guests.inside("one", "/tmp/miniccc/files/large")) == digest
    (guests.product.base / "files" / "large").unlink()
    number = guests.post("cc recv /tmp/miniccc/files/large")
    assert states(guests.wait(number, 1, PATIENCE_S + LARGE_MIB)) == {("exited", "")}
    assert digest_of(guests.response(number, "one", "/tmp/miniccc/files/large")) == digest
    (agent,) = guests.agents("one")
    assert most_memory_mib(agent) < AGENT_MIB
    assert most_memory_mib(guests.product.pid("cc")) < SERVER_MIB
