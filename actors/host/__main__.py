"""`python -m actors.host --base DIR` starts this actor by hand."""

from actors.host.actor import HostActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(HostActor)
