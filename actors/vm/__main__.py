"""Run the actor by hand: `python -m actors.vm --base DIR`."""

from actors.vm.actor import VmActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(VmActor)
