"""Run the actor by hand: `python -m actors.files --base DIR`."""

from actors.files.actor import FilesActor
from bus.node.by_hand import run_by_hand

if __name__ == "__main__":
    run_by_hand(FilesActor)
