"""The tests that guests with other kernels run exist: otherwise one would learn it from a guest, much later."""

from __future__ import annotations

import pytest

from tests.kernels.cases import CASES, SHORT, Case
from tests.kernels.kernel import ROOT

TARGETS = sorted({target for case in (SHORT, *CASES.values()) for target in case.targets})


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_exists(target: str) -> None:
    file, _, name = target.partition("::")
    text = (ROOT / file).read_text()
    assert f"def {name.partition('[')[0]}(" in text or not name


@pytest.mark.parametrize("case", [SHORT, *CASES.values()], ids=lambda case: case.what)
def test_whatever_tests_a_guest_runs_are_patient(case: Case) -> None:
    first = case.script().index("MINIBUS_TEST_PATIENCE")
    assert first < case.script().index("-m pytest")
