"""Run the actor by hand: `python -m actors.plumber --base DIR`."""

from actors.plumber.actor import PlumberActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(PlumberActor)
