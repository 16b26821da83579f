"""The file lock."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bus.errors import ConflictError
from bus.lock import FileLock, holder


def test_the_second_is_told_who_holds_it(base_dir: Path) -> None:
    path = base_dir / "run" / "vm.lock"
    lock = FileLock(path, "vm")
    assert holder(path) == os.getpid()
    with pytest.raises(ConflictError, match=rf"^vm is already running on {base_dir} \(pid {os.getpid()}\)$"):
        FileLock(path, "vm")
    lock.release()
    lock.release()
    assert holder(path) == 0
    FileLock(path, "vm").release()


def test_the_lock_goes_with_its_holder_and_a_waiting_one_gets_it(base_dir: Path) -> None:
    path = base_dir / "run" / "vm.lock"
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        FileLock(path, "vm")
        os.write(writable, b"x")
        signal.pause()
        os._exit(0)
    assert os.read(readable, 1) == b"x"
    assert holder(path) == pid
    os.kill(pid, 9)
    lock = FileLock(path, "vm", wait_s=5.0)
    assert holder(path) == os.getpid()
    lock.release()
    os.waitpid(pid, 0)
    os.close(readable)
    os.close(writable)


@pytest.mark.parametrize("content", [b"", b"12", b"rubbish\n", b"99999999999999999999999999999999999999\n"])
def test_an_old_file_with_any_content_is_no_obstacle(base_dir: Path, content: bytes) -> None:
    path = base_dir / "vm.lock"
    path.write_bytes(content)
    assert holder(path) == 0
    lock = FileLock(path, "vm")
    assert path.read_bytes() == b"%d\n" % os.getpid()
    lock.release()


def test_nobody_holds_what_is_not_there(base_dir: Path) -> None:
    assert holder(base_dir / "none" / "vm.lock") == 0
