"""Judging and showing results."""

from __future__ import annotations

import json

import pytest

from tests.bench.report import Benchmark, Budget, Measured, Row, as_json, figure, percentile, rows_of, table

RATE = Budget(name="rate", unit="containers/s", limit=0.5, direction=">=")
WAIT = Budget(name="wait", unit="ms", limit=50.0, direction="<=", of="value")


@pytest.mark.parametrize(
    ("budget", "measured", "met"),
    [
        (RATE, Measured(value=50.0, reference=100.0), True),
        (RATE, Measured(value=49.9, reference=100.0), False),
        (RATE, Measured(value=50.0), None),
        (RATE, None, None),
        (WAIT, Measured(value=50.0), True),
        (WAIT, Measured(value=50.1, reference=100.0), False),
    ],
)
def test_a_row_is_judged_by_its_budget(budget: Budget, measured: Measured | None, met: bool | None) -> None:
    assert Row(budget=budget, measured=measured).met is met


def test_the_table_is_aligned_and_names_every_verdict() -> None:
    rows = [
        Row(budget=RATE, measured=Measured(value=123.4, reference=200.0)),
        Row(budget=WAIT, measured=Measured(value=61.25)),
        Row(budget=WAIT, reason="must be run as root"),
    ]
    assert table(rows).splitlines() == [
        "name  value  unit          reference  ratio  budget",
        "rate    123  containers/s        200  0.617  >= 0.5        ok",
        "wait   61.2  ms                    -      -  <= 50 ms abs  MISS",
        "wait      -  ms                    -      -  <= 50 ms abs  not measured: must be run as root",
    ]


def test_the_json_form_has_no_number_that_was_not_measured() -> None:
    rows = [Row(budget=RATE, measured=Measured(value=1.0, reference=4.0)), Row(budget=WAIT, reason="no compiler")]
    assert json.loads(json.dumps(as_json(rows))) == {
        "rate": {
            "value": 1.0,
            "unit": "containers/s",
            "reference": 4.0,
            "ratio": 0.25,
            "budget": ">= 0.5",
            "met": False,
        },
        "wait": {
            "value": None,
            "unit": "ms",
            "reference": None,
            "ratio": None,
            "budget": "<= 50 ms abs",
            "met": None,
            "reason": "no compiler",
        },
    }


def test_rows_without_a_result_say_so() -> None:
    benchmark = Benchmark(rows=(RATE, WAIT), run=dict)
    rows = rows_of(benchmark, {"rate": Measured(value=1.0)})
    assert [(row.budget.name, row.reason) for row in rows] == [("rate", ""), ("wait", "not measured")]
    assert [row.reason for row in rows_of(benchmark, {}, "because")] == ["because", "because"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, "-"), (0.0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (61.25, "61.2"), (123456.7, "123457")],
)
def test_figures_have_three_digits(number: float | None, shown: str) -> None:
    assert figure(number) == shown


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5.0], 99) == 5.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)
