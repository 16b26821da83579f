"""What every test shares: the asyncio backend, a base directory, the leak check and the count of skips."""

from __future__ import annotations

import fnmatch
import gc
import os
import shutil
import signal
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
os.environ.setdefault("MINIBUS_GROUP", "none")  # a group of that name on this machine is none of the tests' business
LEAK_GRACE_S = 2.0  # how long what a test has told to end may take to be gone
KEPT_BY_OTHERS = ("/dev/urandom", "/memfd:", "/usr/lib/", "/proc/self/")  # opened once by libraries for the process


# ------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture
def base_dir() -> Iterator[Path]:
    """An empty base directory of mode 0700, removed afterwards.

    The path is short because a unix socket's may have 107 bytes (unix(7)). The test fails if something is still
    mounted below it.
    """
    path = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    yield path
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(path) in line]
    assert not mounted, f"still mounted under the base directory: {mounted}"
    shutil.rmtree(path)


# ------------------------------------------------------------------ leaks


def _has_children() -> bool:
    """True if this process has any child, living or not yet reaped (one system call)."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> dict[int, str]:
    """Children by pid, with their names, those waiting to be reaped included."""
    if not _has_children():
        return {}
    found: dict[int, str] = {}
    for child in psutil.Process().children():
        try:
            found[child.pid] = f"process {child.pid} ({child.name()}, {child.status()})"
        except psutil.NoSuchProcess:
            continue
    return found


def _descriptors() -> dict[int, str]:
    """Open descriptors of this process and what each refers to."""
    found: dict[int, str] = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if not target.startswith(KEPT_BY_OTHERS):
            found[int(entry.name)] = f"descriptor {entry.name} ({target})"
    return found


def _threads() -> dict[int, str]:
    """Python threads of this process by identifier."""
    return {t.ident: f"thread {t.name}" for t in threading.enumerate() if t.ident is not None}


def _snapshot() -> list[dict[int, str]]:
    return [_children(), _descriptors(), _threads()]


def _new_since(before: list[dict[int, str]]) -> list[str]:
    """What exists now and did not in `before`, as readable lines."""
    return [
        what
        for then, now in zip(before, _snapshot(), strict=True)
        for key, what in now.items()
        if then.get(key) != what and not (what.startswith("process") and key in then)
    ]


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a child process, a descriptor or a thread behind.

    Fixtures of wider scope are set up before this one, so what they hold is not counted.
    """
    before = _snapshot()
    yield
    if not _new_since(before):
        return
    gc.collect()  # an exception's traceback may hold the last reference to what a failed test used
    deadline = time.monotonic() + LEAK_GRACE_S
    while (left := _new_since(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left:
        pytest.fail(f"{request.node.nodeid} left behind: {', '.join(left)}", pytrace=False)


# ------------------------------------------------------------------ skips and root


def allowed_skips(path: Path) -> dict[str, str]:
    """Read the list of allowed skips: node id pattern to reason. Raises ValueError on an entry without a reason."""
    table: dict[str, str] = tomllib.loads(path.read_text()).get("skips", {})
    for pattern, reason in table.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{path.name}: {pattern!r} needs a reason")
    return table


class SkipCount:
    """Counts skipped tests; one that is not on the list makes the run fail."""

    def __init__(self, allowed: dict[str, str]) -> None:
        """Start counting against the given list (node id pattern to reason)."""
        self.allowed = allowed
        self.listed: list[str] = []
        self.unlisted: list[str] = []

    def add(self, nodeid: str) -> None:
        """Count one skip."""
        known = any(nodeid == p or fnmatch.fnmatchcase(nodeid, p) for p in self.allowed)
        (self.listed if known else self.unlisted).append(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test or its fixtures were skipped (an expected failure is not a skip)."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file was skipped."""
        if report.skipped:
            self.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run with an unlisted skip into a failed one."""
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the skips, the unlisted ones as errors."""
        for nodeid in self.unlisted:
            terminalreporter.write_line(f"FAILED {nodeid} - skipped, and not listed in tests/skips.toml", red=True)
        if self.listed:
            terminalreporter.write_line(f"{len(self.listed)} listed skips: {', '.join(self.listed)}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the skip counter; in one of several processes also what keeps it from disturbing the others."""
    config.pluginmanager.register(SkipCount(allowed_skips(TESTS / "skips.toml")), "skip-count")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has it so for what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        from tests import workers

        config.pluginmanager.register(workers.Worker(workers.read()), "worker")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Which process runs which tests, and when: see tests/workers.py."""
    from tests import workers

    return workers.Scheduler(config, log, workers.read())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/system is a system test, whether its author remembered the mark or not."""
    for item in items:
        if TESTS / "system" in item.path.parents:
            item.add_marker("system")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A system test without root fails at once and says so; it is never skipped in silence."""
    if item.get_closest_marker("system") and os.geteuid() != 0:
        pytest.fail("system tests need root; `just check` runs those that do not", pytrace=False)
