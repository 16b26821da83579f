"""Run the actor by hand: `python -m actors.namespace --base DIR`."""

from actors.namespace.actor import NamespaceActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(NamespaceActor)
