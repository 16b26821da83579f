"""`python -m bus.gateway --base DIR` starts the gateway by hand."""

from __future__ import annotations

import sys

from bus.gateway.gateway import Gateway
from bus.node.by_hand import base_from_arguments

if __name__ == "__main__":
    sys.exit(Gateway.run_process(base_from_arguments("python -m bus.gateway", "Run the gateway."), None))
