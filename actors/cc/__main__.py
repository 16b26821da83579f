"""`python -m actors.cc --base DIR` starts this actor by hand."""

from actors.cc.actor import CcActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(CcActor)
