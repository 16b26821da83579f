"""The leak check and the count of skips do fail a run: each is tried on a small suite of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
UNUSED = ("cacheprovider", "hypothesispytest", "timeout", "xdist")
RUN = ("-q", "-p", "pytester", *(word for plugin in UNUSED for word in ("-p", f"no:{plugin}")))


def run(pytester: pytest.Pytester, test: str, skips: str = "[skips]\n") -> pytest.RunResult:
    """Run one test file beside a copy of the real conftest (less patient), in a process of its own."""
    text = CONFTEST.read_text().replace("LEAK_GRACE_S = 2.0", "LEAK_GRACE_S = 0.05")
    (pytester.path / "conftest.py").write_text(text)
    (pytester.path / "skips.toml").write_text(skips)
    pytester.makeini("[pytest]\nanyio_mode = auto\nmarkers = system: needs root\n")
    pytester.makepyfile(test_sample=test)
    return pytester.runpytest_subprocess(*RUN)


SKIPPING = "import pytest\ndef test_one():\n    pytest.skip('no reason')\n"


def test_unlisted_skip_fails_the_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, SKIPPING)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED test_sample.py::test_one - skipped, and not listed*"])


def test_listed_skip_passes_and_is_named(pytester: pytest.Pytester) -> None:
    result = run(pytester, SKIPPING, '[skips]\n"test_sample.py::*" = "a reason"\n')
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["1 listed skips: test_sample.py::test_one"])


def test_entry_without_reason_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, SKIPPING, '[skips]\n"test_sample.py::*" = ""\n')
    assert result.ret != pytest.ExitCode.OK


LEAKS = {
    "descriptor": "import os\nkept = []\ndef test_one():\n    kept.append(os.pipe())\n",
    "thread": "import threading\ndef test_one():\n"
    "    threading.Thread(target=threading.Event().wait, name='lost', daemon=True).start()\n",
    "process": "import subprocess\nkept = []\ndef test_one():\n    kept.append(subprocess.Popen(['sleep', '9']))\n"
    "def test_two():\n    kept[0].kill()\n    kept[0].wait()\n",
}


@pytest.mark.parametrize("what", LEAKS)
def test_leak_fails_the_test_that_made_it(pytester: pytest.Pytester, what: str) -> None:
    result = run(pytester, LEAKS[what])
    assert result.parseoutcomes().get("errors") == 1
    result.stdout.fnmatch_lines([f"*test_one left behind: {what} *"])


def test_what_wider_fixtures_hold_is_no_leak(pytester: pytest.Pytester) -> None:
    sample = (
        "import os, pytest\n"
        "@pytest.fixture(scope='session')\ndef pipe():\n    ends = os.pipe()\n    yield ends\n"
        "    [os.close(end) for end in ends]\n"
        "async def test_one(pipe):\n    assert pipe\n"
    )
    run(pytester, sample).assert_outcomes(passed=1)
