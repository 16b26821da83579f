"""`python -m actors.network --base DIR` starts this actor by hand."""

from actors.network.actor import NetworkActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(NetworkActor)
