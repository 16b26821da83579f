"""cgroup version 2 alone, VLANs on bridges, netem, which this machine need not have: in a guest with Debian's kernel.

`just kernels` runs all tests of containers and networks in guests of several kinds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import guest, image, kernel
from tests.kernels.cases import MODULES, SHORT


@pytest.mark.timeout(1600)
def test_another_kernel(tmp_path: Path) -> None:
    chosen = kernel.get()
    root = tmp_path / "root.img"
    image.build(root, chosen, MODULES)
    try:
        outcome = guest.Machine(chosen, root, processors=2).run(
            SHORT.script(), parameters=SHORT.parameters, timeout_s=1500
        )
    finally:
        root.unlink()
    assert outcome.status == 0, outcome.tail()
    assert " passed in " in outcome.output
    assert "skipped" not in outcome.output


@pytest.mark.timeout(400)
def test_a_guest_that_fails_or_hangs(tmp_path: Path) -> None:
    """The status of the script comes out, and a guest without an end is ended."""
    chosen = kernel.get()
    root = tmp_path / "root.img"
    image.build(root, chosen)
    machine = guest.Machine(chosen, root)
    failed = machine.run("echo hello; exit 3", timeout_s=300)
    assert (failed.status, failed.output) == (3, "hello\n")
    hung = machine.run("echo waiting; sleep 1000", timeout_s=8)
    assert hung.status is None
