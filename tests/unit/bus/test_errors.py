"""Errors and their codes on the wire."""

from __future__ import annotations

import pytest

from bus import errors
from bus.messages.base import Failure

CONCRETE = [*errors.CODES.values()]


def test_every_code_has_its_own_class_and_its_line_in_the_docstring() -> None:
    assert len(errors.CODES) == 12
    for code, klass in errors.CODES.items():
        assert klass.code == code
        assert f"{klass.__name__} " in (errors.__doc__ or "")
        assert f" {code} " in (errors.__doc__ or "")


@pytest.mark.parametrize("klass", CONCRETE)
def test_an_error_crosses_the_bus_unchanged(klass: type[errors.BusError]) -> None:
    failure = errors.to_failure(klass("a sentence", detail={"line": 3}), "vm@kn1")
    again = errors.from_failure(failure)
    assert type(again) is klass
    assert (str(again), again.origin, again.detail) == ("a sentence", "vm@kn1", {"line": 3})
    assert failure.retryable == klass.retryable


def test_the_first_origin_is_kept() -> None:
    passed_on = errors.from_failure(Failure(code="conflict", message="m", origin="vm@kn1"))
    assert errors.to_failure(passed_on, "scheduler@kn1").origin == "vm@kn1"


def test_a_code_of_a_later_version_is_still_an_error() -> None:
    error = errors.from_failure(Failure(code="haunted", message="m", detail={"x": 1}))
    assert type(error) is errors.RemoteError
    assert error.detail == {"x": 1, "code": "haunted"}


def test_what_may_have_been_done_is_a_class_of_its_own() -> None:
    unknown = {klass for klass in CONCRETE if issubclass(klass, errors.OutcomeUnknownError)}
    assert unknown == {errors.DeadlineError, errors.CancelledError}
    assert {klass for klass in CONCRETE if klass.retryable} == {
        errors.UnreachableError,
        errors.OverloadedError,
        errors.CancelledError,
    }
