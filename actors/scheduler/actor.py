"""The shell of the `scheduler` actor."""

from __future__ import annotations

from actors.scheduler import state
from actors.scheduler.state import Located, SchedulerTable
from bus.actor.step import Effect, Input
from bus.actor.step_actor import StepActor
from bus.messages.schedule import (
    PlaceVms,
)


class SchedulerActor(StepActor[SchedulerTable]):
    """Places VMs over the hosts of a namespace."""

    kind = "scheduler"
    state_type = SchedulerTable
    requests = (PlaceVms,)

    def initial_state(self) -> SchedulerTable:
        """Nothing under way."""
        return SchedulerTable(host=self.context.host)

    def step(self, state_: SchedulerTable, inp: Input) -> list[Effect]:
        """See `actors.scheduler.state`."""
        return state.step(state_, inp)

    async def on_start(self) -> None:
        """Tell the core where it runs."""
        self.feed(Located(host=self.context.host))
