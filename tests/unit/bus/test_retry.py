"""When a request is asked again, and what its asker is told."""

from __future__ import annotations

import pytest

from bus.errors import BusError, CancelledError, InvalidError, OverloadedError, UnreachableError
from bus.retry import Retry

GONE, LOST, FULL = UnreachableError("nobody"), CancelledError("may be done"), OverloadedError("full")


def told(*failures: tuple[float, BusError], overload_is_absence: bool = False) -> BusError | None:
    """What is raised after attempts that failed at these times; None if it is asked again after all of them."""
    retry = Retry(100.0, absent_s=5.0, pause_s=(0.1, 1.0), overload_is_absence=overload_is_absence)
    for at_s, error in failures:
        try:
            retry.failed(error, at_s)
        except BusError as raised:
            return raised
    return None


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([(0.0, GONE), (4.0, GONE)], None),
        ([(0.0, GONE), (5.0, GONE)], GONE),
        ([(0.0, InvalidError("no"))], InvalidError),
        ([(0.0, LOST), (50.0, LOST)], None),
        ([(99.95, LOST)], LOST),
        # It hung for long before it fell: only since then is nobody there.
        ([(7.0, LOST), (7.1, GONE), (11.0, GONE)], None),
        # What may have been done is never said not to have been.
        ([(0.0, LOST), (0.1, GONE), (5.1, GONE)], LOST),
        ([(0.0, LOST), (99.95, FULL)], LOST),
        ([(0.0, LOST), (1.0, InvalidError("no"))], InvalidError),
        ([(0.0, GONE), (4.0, LOST), (8.0, GONE), (12.0, GONE)], None),
        ([(0.0, FULL), (90.0, FULL)], None),
    ],
)
def test_what_the_asker_is_told(failures: list[tuple[float, BusError]], expected: object) -> None:
    raised = told(*failures)
    assert raised is expected or (isinstance(expected, type) and isinstance(raised, expected))


def test_overload_can_count_as_absence() -> None:
    assert told((0.0, FULL), (5.0, FULL), overload_is_absence=True) is FULL


def test_pauses_grow() -> None:
    retry = Retry(100.0, absent_s=50.0, pause_s=(0.1, 0.3))
    assert [retry.failed(LOST, 1.0) for _ in range(4)] == [0.1, 0.2, 0.3, 0.3]
