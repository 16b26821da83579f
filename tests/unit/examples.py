"""How many examples hypothesis tries: all of them before a push, some before a commit (`just check`)."""

from __future__ import annotations

import os
from typing import Final

QUICK: Final = os.environ.get("MINIBUS_TESTS") == "quick"
_PART: Final = 5
_FEWEST: Final = 5


def examples(full: int) -> int:
    """What to give as `max_examples`, `full` being enough to find what there is."""
    return max(full // _PART, _FEWEST) if QUICK else full
