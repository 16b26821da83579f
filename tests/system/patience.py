"""How much longer tests wait on a machine that is slower than most, such as an emulated one."""

from __future__ import annotations

import os
from typing import Final

FACTOR: Final = float(os.environ.get("MINIBUS_TEST_PATIENCE", "1"))
