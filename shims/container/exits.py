"""How a container ended: wait statuses in words. Pure."""

from __future__ import annotations

import os
import signal
from typing import Final

from shims.container.journal import Ended
from shims.linux.process import describe_status

__all__ = ["UNKNOWN", "describe_status", "ended", "wait_status"]

UNKNOWN: Final = "unknown"


def wait_status(result: os.waitid_result) -> int:
    """The status of waitid(2) in the form of waitpid(2)."""
    if result.si_code == os.CLD_EXITED:
        return result.si_status << 8
    return result.si_status | (0x80 if result.si_code == os.CLD_DUMPED else 0)


def ended(guest_id: int, status: int | None, *, kill_asked: bool, oom_kills: int, message: str) -> Ended:
    """The record of an end; `status` is None where nobody could see it."""
    if status is None:
        return Ended(guest_id=guest_id, exit=UNKNOWN, clean=kill_asked, oom_killed=oom_kills > 0, message=message)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    clean = status == 0 or (killed and kill_asked)
    oom_killed = oom_kills > 0 and not clean
    return Ended(guest_id=guest_id, exit=describe_status(status), clean=clean, oom_killed=oom_killed, message=message)
