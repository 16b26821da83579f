"""`python -m actors.container --base DIR` starts this actor by hand."""

from actors.container.actor import ContainerActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(ContainerActor)
