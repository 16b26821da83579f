"""Waiting for a process, with a descriptor that select(2) could not take."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import time

from bus.processes import wait_for_end

HIGH = 1500


def test_a_high_descriptor_can_be_waited_for() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], HIGH + 10), before[1]))
    process = subprocess.Popen(["sleep", "1000"])
    try:
        low = os.pidfd_open(process.pid)
        pidfd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, HIGH)
        os.close(low)
        begun_s = time.monotonic()
        wait_for_end(pidfd, 0.05)
        assert process.poll() is None
        process.kill()
        wait_for_end(pidfd, 60.0)
        assert process.poll() == -9
        assert time.monotonic() - begun_s < 50
        os.close(pidfd)
    finally:
        process.kill()
        process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
