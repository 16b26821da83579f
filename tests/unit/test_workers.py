"""Several processes share the tests out as the plan says; what has to be alone is."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import workers
from tests.workers import ALONE, Plan, Worker

ROOT = Path(__file__).parents[2]
EXAMPLE = Plan(
    ("tests/system/test_long.py", "tests/unit/test_longish.py"),
    {"tests/system/test_whole.py::test_all": "sees all", "tests/system/test_greedy.py::*": "takes all"},
)


@pytest.mark.parametrize(
    ("nodeid", "unit", "rank"),
    [
        ("tests/system/test_long.py::test_one", "tests/system/test_long.py", 0),
        ("tests/unit/test_longish.py::test_one[a::b]", "tests/unit/test_longish.py", 1),
        ("tests/unit/test_other.py::test_one", "tests/unit/test_other.py", 2),
        ("tests/system/test_whole.py::test_part", "tests/system/test_whole.py", 2),
        ("tests/system/test_whole.py::test_all", ALONE, 3),
        ("tests/system/test_greedy.py::test_any[x]", ALONE, 3),
    ],
)
def test_what_goes_together_and_when(nodeid: str, unit: str, rank: int) -> None:
    assert (EXAMPLE.unit(nodeid), EXAMPLE.rank(nodeid)) == (unit, rank)


def test_our_plan_names_what_there_is() -> None:
    plan = workers.read()
    assert [name for name in plan.first if not (ROOT / name).is_file()] == []
    for pattern in plan.alone:
        file, _, test = pattern.partition("::")
        name = re.match(r"\w+", test)
        assert f"def {name[0] if name else 'test_'}" in (ROOT / file).read_text(), pattern


def test_who_is_alone_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text('[alone]\n"a::b" = " "\n')
    with pytest.raises(ValueError, match="'a::b' needs a reason"):
        workers.read(tmp_path / "plan.toml")


def turn(worker: Worker, nodeid: str) -> Generator[None, object, object]:
    """The turn of a test, which has begun; closing it is its end."""
    item: Any = SimpleNamespace(nodeid=nodeid)
    begun = worker.pytest_runtest_protocol(item)
    next(begun)
    return begun


@pytest.mark.parametrize(("nodeid", "others_run"), [("tests/unit/test_other.py::test_one", True), (ALONE, False)])
def test_others_run_unless_one_is_alone(tmp_path: Path, nodeid: str, others_run: bool) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    worker = Worker(Plan((), {ALONE: "it is"}), lock)
    with lock.open() as other:
        begun = turn(worker, nodeid)
        for kind, free in ((fcntl.LOCK_SH, others_run), (fcntl.LOCK_EX, False)):
            try:
                fcntl.flock(other, kind | fcntl.LOCK_NB)
                fcntl.flock(other, fcntl.LOCK_UN)
                assert free
            except BlockingIOError:
                assert not free
        begun.close()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    worker.pytest_unconfigure()


def test_long_ones_are_first_and_those_alone_last() -> None:
    names = ["a.py::test_alone", "b.py::test_one", "c.py::test_one", "a.py::test_other"]
    items: list[Any] = [SimpleNamespace(nodeid=name) for name in names]
    worker = Worker(Plan(("c.py",), {"a.py::test_alone": "it is"}), Path(__file__))
    worker.pytest_collection_modifyitems(items)
    worker.pytest_unconfigure()
    assert [item.nodeid for item in items] == [names[2], names[1], names[3], names[0]]


def test_two_processes_run_all_once_and_skips_are_counted(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = system: needs root\n")
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    (pytester.path / "skips.toml").write_text('[skips]\n"test_b.py::test_listed" = "a reason"\n')
    pytester.makepyfile(
        test_a="def test_one(worker_id): assert worker_id\ndef test_two(tmp_path): assert len(str(tmp_path)) < 35\n",
        test_b="import pytest\ndef test_listed(): pytest.skip('x')\ndef test_unlisted(): pytest.skip('x')\n",
    )
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider", "-p", "pytester")
    result.assert_outcomes(passed=2, skipped=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED test_b.py::test_unlisted - skipped, and not listed*"])
    result.stdout.fnmatch_lines(["1 listed skips: test_b.py::test_listed"])
