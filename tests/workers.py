"""How tests are shared out when several processes run them (`pytest -n`, pytest-xdist); `workers.toml` is the plan.

A file goes to one process as a whole, so its tests share what is made once for the file. Files that take long go
first, and last, one after the other, what cannot bear that anything else runs at the same time.
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import shutil
import tempfile
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

PLAN: Final = Path(__file__).with_suffix(".toml")
ALONE: Final = "alone"
"""The name of what is run last."""


class Plan(NamedTuple):
    """What `workers.toml` says."""

    first: tuple[str, ...]
    """Files, in this order."""
    alone: dict[str, str]
    """Reason by node id, or pattern of fnmatch."""

    def is_alone(self, nodeid: str) -> bool:
        """Whether nothing else may run meanwhile."""
        return any(nodeid == pattern or fnmatch.fnmatchcase(nodeid, pattern) for pattern in self.alone)

    def unit(self, nodeid: str) -> str:
        """The name of that which goes to a process as a whole."""
        return ALONE if self.is_alone(nodeid) else nodeid.partition("::")[0]

    def rank(self, nodeid: str) -> int:
        """The lower, the earlier; those of the same rank stay in their order."""
        unit = self.unit(nodeid)
        if unit in self.first:
            return self.first.index(unit)
        return len(self.first) + (unit == ALONE)


def read(path: Path = PLAN) -> Plan:
    """Read a plan. Raises ValueError if a test shall be alone without a reason."""
    table = tomllib.loads(path.read_text())
    alone: dict[str, str] = table.get("alone", {})
    for pattern, reason in alone.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{path.name}: {pattern!r} needs a reason")
    return Plan(tuple(table.get("first", ())), alone)


class Scheduler(LoadScopeScheduling):
    """Gives out the units of a plan in the order in which tests were collected. Lives in the process that runs none."""

    def __init__(self, config: pytest.Config, log: Producer, plan: Plan) -> None:
        config.option.loadscopereorder = False  # by number of tests, which says little about how long they take
        super().__init__(config, log)
        self._plan = plan

    def _split_scope(self, nodeid: str) -> str:
        return self._plan.unit(nodeid)


class Worker:
    """The plugin of a process that runs tests: their order, and that some run alone."""

    def __init__(self, plan: Plan, lock: Path = PLAN) -> None:
        """`lock` is a file that all processes lock, shared or exclusively (flock(2)); nothing is written to it."""
        self._plan = plan
        self._lock = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
        self._temporary: Path | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The order of the plan; it must be the same in all processes."""
        items.sort(key=lambda item: self._plan.rank(item.nodeid))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Wait until the others are where this test can bear them; the time for it does not count as the test's."""
        fcntl.flock(self._lock, fcntl.LOCK_EX if self._plan.is_alone(item.nodeid) else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """`tmp_path` is as short as in a run of one process, or shorter: a unix socket's path may have 107 bytes."""
        self._temporary = Path(tempfile.mkdtemp(prefix="mbp-", dir="/tmp"))
        config.option.basetemp = str(self._temporary)

    def pytest_unconfigure(self) -> None:
        """Let go of the lock's file, remove what tests have written."""
        os.close(self._lock)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
