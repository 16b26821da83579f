"""The whole product, in guests of every kind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.system.product import PROCESSES, product_on


def test_all_are_killed_at_once(base_dir: Path, rootfs: Path) -> None:
    """What ran goes on, and is paused, killed and removed by those who come after."""
    with product_on(base_dir, rootfs) as product:
        with product.configured() as console:
            assert console.ok("vm launch container one") == ""
            console.ok("vm start one")
            pid = console.vm("one")["pid"]
        doomed = [product.pid(process) for process in PROCESSES]
        assert all(doomed)
        for victim in doomed:
            with suppress(ProcessLookupError):  # it has noticed that the node is gone
                os.kill(victim, signal.SIGKILL)
        product.up()
        with product.console() as console:
            assert console.states() == {"one": "RUNNING"}
            assert console.vm("one")["pid"] == pid
            console.ok("vm stop one", "vm start one", "vm kill one", "vm flush")
        assert product.guests_left() == []
