"""Whether KVM runs guests here: the existence of /dev/kvm says nothing, so a guest is booted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.kernels.guest import Machine
from tests.kernels.kernel import Kernel, KitError

PROBE_S: Final = 8.0
"""With KVM a guest boots in less than two seconds."""


def choose(kernel: Kernel, image: Path) -> str:
    """`kvm` if a guest comes to its end with it, or else `tcg`."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    try:
        outcome = Machine(kernel, image, "kvm").run("exit 7", timeout_s=PROBE_S)
    except KitError:
        return "tcg"
    return "kvm" if outcome.status == 7 else "tcg"
