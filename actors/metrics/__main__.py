"""Run the actor by hand: `MINIBUS_METRICS=9100 python -m actors.metrics --base DIR`."""

from actors.metrics.actor import MetricsActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(MetricsActor)
