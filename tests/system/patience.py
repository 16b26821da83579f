"""How much longer tests wait on a machine that is slower than most, such as an emulated one, or has more to do."""

from __future__ import annotations

import os
from typing import Final

_BESIDE_OTHERS: Final = "3" if "PYTEST_XDIST_WORKER" in os.environ else "1"
FACTOR: Final = float(os.environ.get("MINIBUS_TEST_PATIENCE", _BESIDE_OTHERS))
