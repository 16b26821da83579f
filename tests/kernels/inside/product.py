"""The whole product, in guests of every kind."""

from __future__ import annotations

from pathlib import Path

from tests.system.product import PROCESSES, product_on


def test_all_are_killed_at_once(base_dir: Path, rootfs: Path) -> None:
    """What ran goes on, and is paused, killed and removed by those who come after."""
    with product_on(base_dir, rootfs) as product:
        with product.configured() as console:
            assert console.ok("vm launch container one") == ""
            console.ok("vm start one")
            pid = console.vm("one")["pid"]
        for process in PROCESSES:
            product.kill(process)
        product.up()
        with product.console() as console:
            assert console.states() == {"one": "RUNNING"}
            assert console.vm("one")["pid"] == pid
            console.ok("vm stop one", "vm start one", "vm kill one", "vm flush")
        assert product.guests_left() == []
