"""`python -m bus --base DIR` starts the broker by hand."""

from __future__ import annotations

import sys

from bus.broker import run
from bus.by_hand import base_from_arguments

if __name__ == "__main__":
    sys.exit(run(base_from_arguments("python -m bus", "Run the broker of a base directory."), None))
