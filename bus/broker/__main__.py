"""`python -m bus.broker --base DIR` starts the broker by hand."""

from __future__ import annotations

import sys

from bus.broker.broker import run
from bus.node.by_hand import base_from_arguments

if __name__ == "__main__":
    sys.exit(run(base_from_arguments("python -m bus.broker", "Run the broker of a base directory."), None))
