"""Wait statuses in words."""

from __future__ import annotations

import os
import signal

import pytest

from shims.container.exits import describe_status, ended, wait_status


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit status 0"),
        (7 << 8, "exit status 7"),
        (signal.SIGKILL, "signal: killed"),
        (signal.SIGTERM, "signal: terminated"),
        (signal.SIGSEGV | 0x80, "signal: segmentation fault"),
    ],
)
def test_words(status: int, text: str) -> None:
    assert describe_status(status) == text


@pytest.mark.parametrize("how", ["exit 5", "kill -TERM $$"])
def test_both_waits_agree(how: str) -> None:
    pids = [os.posix_spawn("/bin/sh", ["sh", "-c", how], {}) for _ in range(2)]
    result = os.waitid(os.P_PID, pids[0], os.WEXITED)
    assert result is not None
    assert wait_status(result) == os.waitpid(pids[1], 0)[1]


@pytest.mark.parametrize(
    ("status", "kill_asked", "oom_kills", "exit_", "clean", "oom_killed"),
    [
        (0, False, 0, "exit status 0", True, False),
        (0, False, 2, "exit status 0", True, False),  # a child was killed, init went on and was content
        (1 << 8, False, 1, "exit status 1", False, True),
        (signal.SIGKILL, True, 0, "signal: killed", True, False),
        (signal.SIGKILL, False, 0, "signal: killed", False, False),
        (signal.SIGKILL, False, 1, "signal: killed", False, True),
        (signal.SIGTERM, True, 0, "signal: terminated", False, False),
        (None, False, 0, "unknown", False, False),
        (None, True, 0, "unknown", True, False),
    ],
)
def test_ends(status: int | None, kill_asked: bool, oom_kills: int, exit_: str, clean: bool, oom_killed: bool) -> None:
    end = ended(3, status, kill_asked=kill_asked, oom_kills=oom_kills, message="")
    assert (end.exit, end.clean, end.oom_killed) == (exit_, clean, oom_killed)
