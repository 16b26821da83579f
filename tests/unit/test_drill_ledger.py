"""The drills' oracle finds each kind of broken promise, and nothing where none was broken."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.drill.ledger import Outcome, VmRecord, VmTruth, broken_promises, outcome_of

DONE, REFUSED, UNKNOWN = Outcome.DONE, Outcome.REFUSED, Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("told", "truth", "what"),
    [
        ({"launch": DONE}, ("BUILDING", 0, ""), ""),
        ({"launch": DONE}, ("ERROR", 0, ""), ""),
        ({"launch": DONE}, ("", 0, ""), "its launch was acknowledged, but it is not listed"),
        ({"launch": REFUSED}, ("", 0, ""), ""),
        ({"launch": REFUSED}, ("BUILDING", 0, ""), "its launch was refused, but it is BUILDING"),
        ({"launch": UNKNOWN}, ("BUILDING", 0, ""), ""),
        ({"launch": UNKNOWN}, ("", 0, ""), ""),
        ({"launch": DONE}, ("RUNNING", 1, ""), "it was started, and nobody who asked for it was told so"),
        ({"launch": DONE, "start": REFUSED}, ("RUNNING", 1, ""), "it was started, and nobody"),
        ({"launch": DONE, "start": UNKNOWN}, ("RUNNING", 1, ""), ""),
        ({"launch": DONE, "start": UNKNOWN}, ("BUILDING", 0, ""), ""),
        ({"launch": DONE, "start": DONE}, ("RUNNING", 2, ""), "its init was executed 2 times"),
        ({"launch": DONE, "start": DONE}, ("RUNNING", 0, ""), "its init never ran"),
        ({"launch": DONE, "start": DONE}, ("RUNNING", None, ""), ""),
        ({"launch": DONE, "start": DONE}, ("QUIT", 1, ""), "it was started and not killed, but it is QUIT"),
        ({"launch": DONE, "start": DONE, "kill": UNKNOWN}, ("QUIT", 1, ""), ""),
        ({"launch": DONE, "start": DONE, "kill": DONE}, ("QUIT", 0, ""), ""),
        ({"launch": DONE, "start": DONE, "kill": DONE}, ("RUNNING", 1, ""), "its kill was acknowledged, but"),
        ({"launch": DONE, "tag": DONE}, ("BUILDING", 0, "vm"), ""),
        ({"launch": DONE, "tag": DONE}, ("BUILDING", 0, ""), "its tag was acknowledged, but is ``"),
        ({"launch": DONE, "tag": UNKNOWN}, ("BUILDING", 0, ""), ""),
        ({"launch": DONE, "kill": DONE, "flush": DONE}, ("", 0, ""), ""),
        ({"launch": DONE, "kill": DONE, "flush": DONE}, ("QUIT", 0, ""), "its flush was acknowledged, but it is QUIT"),
        ({"launch": DONE, "kill": DONE, "flush": UNKNOWN}, ("", 0, ""), ""),
    ],
)
def test_promises(told: dict[str, Any], truth: tuple[str, int | None, str], what: str) -> None:
    found = broken_promises(VmRecord("vm", **told), VmTruth(*truth))
    assert bool(found) == bool(what)
    assert any(what in sentence for sentence in found) or not what


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("", DONE),
        ("no answer from vm within 5 s; the outcome is unknown", UNKNOWN),
        ("the server closed the connection", UNKNOWN),
        ("vm not found: a", REFUSED),
    ],
)
def test_what_an_answer_says(error: str, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
