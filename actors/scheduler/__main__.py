"""Run the actor by hand: `python -m actors.scheduler --base DIR`."""

from actors.scheduler.actor import SchedulerActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(SchedulerActor)
