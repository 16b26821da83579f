"""What guests go without reaches whoever launched them."""

from __future__ import annotations

import msgspec
import pytest

from bus.actor.step import Ask
from bus.messages.guest import GuestReports
from bus.messages.vm import StartVms, VmReport
from cli.commands.declare import Args, report
from tests.unit.actors.vm.vm_host import Host

NO_MEMORY = "memory is not limited: no controller"
NO_CPU = "the number of CPUs is not limited: no controller"


class LesserHost(Host):
    """Its driver warns, of each guest of something else."""

    def report(self, ask: Ask) -> GuestReports:
        """With a warning to each."""
        reports = super().report(ask).reports
        return GuestReports(
            reports=tuple(
                msgspec.structs.replace(one, warnings=(NO_MEMORY, NO_CPU)[: 1 + one.vm_id % 2]) for one in reports
            )
        )


def test_each_sentence_once_and_only_with_what_makes_guests() -> None:
    host = LesserHost()
    made = host.launch("a", "b", "c")
    assert made.errors == ()
    assert made.warnings == (NO_MEMORY, NO_CPU)
    started = host.do(StartVms(target="a"))
    assert isinstance(started, VmReport)
    assert started.warnings == ()


@pytest.mark.parametrize(
    ("reply", "text", "error"),
    [
        (VmReport(), "", ""),
        (VmReport(warnings=(NO_MEMORY, NO_CPU)), f"warning: {NO_MEMORY}\nwarning: {NO_CPU}", ""),
        (VmReport(warnings=(NO_CPU,), errors=("b: no",)), f"warning: {NO_CPU}", "b: no"),
    ],
)
def test_what_is_shown(reply: VmReport, text: str, error: str) -> None:
    answer = report(reply, Args({}))
    assert (answer.text, answer.error) == (text, error)
