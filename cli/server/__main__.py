"""`python -m cli.server --base DIR` starts the command server by hand."""

from __future__ import annotations

from bus.node.by_hand import run_by_hand
from cli.server.actor import CliActor

if __name__ == "__main__":
    run_by_hand(CliActor)
