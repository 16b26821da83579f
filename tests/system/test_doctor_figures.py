"""What a container takes of each resource, measured, against the table that `minibus doctor` reckons with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.doctor import capacity
from tests.system.product import Product, product_on, until

FIRST, MORE = 10, 40
TOLERANCE = 0.1
"""A connection that has just come or gone."""


def figures(product: Product) -> dict[str, float]:
    """What minibus and its guests have; not what the whole host has, where others come and go."""
    names = ("node", "warden", "container", "cc", "network")
    files = {name: list(Path(f"/proc/{product.pid(name)}/fd").iterdir()) for name in names}
    entries = list(product.base.rglob("*"))
    return {
        **{f"files of {name}": len(links) for name, links in files.items()},
        "terminals": sum(str(link.readlink()).startswith("/dev/ptmx") for link in files["node"]),
        "tasks": sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in product.guest_pids()),
        "inodes": len(entries),
        "disk": sum(entry.lstat().st_blocks for entry in entries) * 512 / capacity.MIB,
    }


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    with product_on(base_dir, rootfs) as product:
        yield product


def test_a_container_takes_what_the_table_says(product: Product) -> None:
    def launch(first: int, last: int) -> None:
        console.ok(f"vm launch container g[{first}-{last}]", "vm start all")
        until(lambda: len(product.guest_pids()) == last, "the guests to run")
        until(lambda: len(list(product.base.glob("*/cc/cc"))) == last, "the sockets of their agents")

    with product.configured() as console:
        console.ok("vm config net LAN")
        launch(1, FIRST)
        before = figures(product)
        launch(FIRST + 1, FIRST + MORE)
        after = figures(product)
        console.ok("vm kill all", "vm flush")
    each = {name: (after[name] - before[name]) / MORE for name in before}
    inodes, disk_mib = each.pop("inodes"), each.pop("disk")
    expected = {
        "files of node": capacity.NODE_FILES,
        "files of warden": capacity.WARDEN_FILES,
        "files of container": capacity.CONTAINER_FILES,
        "files of cc": capacity.CC_FILES - 1,  # no agent is in these
        "files of network": 0,
        "terminals": capacity.TERMINALS,
        "tasks": capacity.TASKS,
    }
    assert each == pytest.approx(expected, abs=TOLERANCE)
    # These grow with what is written.
    assert capacity.INODES / 2 <= inodes <= capacity.INODES + TOLERANCE
    assert capacity.DISK_MIB / 4 <= disk_mib <= capacity.DISK_MIB
    # Its console is open in two processes and counts once; its init's is one more.
    assert capacity.FILES >= capacity.WARDEN_FILES + capacity.CONTAINER_FILES + capacity.CC_FILES + 1
