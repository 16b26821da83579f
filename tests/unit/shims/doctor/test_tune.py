"""Raising limits and putting them back, on a made-up machine."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from shims.doctor import tune
from shims.doctor.source import Source, sysctl_path
from shims.doctor.tune import RECORD, TARGETS, Tuning
from tests.unit.shims.doctor.facts import machine

PTY, PID = "kernel.pty.max", "kernel.pid_max"


class Machine:
    """A machine whose sysctls are these, and a base directory on it."""

    def __init__(self, directory: Path, **sysctls: int) -> None:
        self.root = directory / "machine"
        self.base = directory / "base"
        self.base.mkdir()
        files = {sysctl_path(name.replace("__", ".")): f"{value}\n" for name, value in sysctls.items()}
        self.source: Source = machine(self.root, {**files, "/proc/sys/kernel/random/boot_id": "one\n"})

    def set(self, name: str, value: int) -> None:
        Path(self.source.path(sysctl_path(name))).write_text(f"{value}\n")

    def now(self, *names: str) -> list[int | None]:
        return [self.source.sysctl(name) for name in names]

    def tuning(self) -> Tuning:
        return Tuning(self.base, self.source)

    def tune(self, **targets: int) -> Tuning:
        tuning = self.tuning()
        tuning.tune({name.replace("__", "."): value for name, value in targets.items()})
        return tuning

    def restore(self) -> Tuning:
        tuning = self.tuning()
        tuning.restore()
        return tuning

    def left(self) -> list[str]:
        return [path.name for path in self.base.iterdir()]


def test_what_is_low_is_raised_said_and_put_back(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096, kernel__pid_max=32768)
    tuned = host.tune(kernel__pty__max=16384, kernel__pid_max=1000)
    assert (tuned.said, tuned.problems) == (["kernel.pty.max: 4,096 -> 16,384"], [])
    assert host.now(PTY, PID) == [16384, 32768]
    record = json.loads((host.base / RECORD).read_text())
    assert record == {"boot_id": "one", "changes": [{"name": PTY, "was": 4096, "now": 16384}]}

    restored = host.restore()
    assert (restored.said, restored.problems) == (["kernel.pty.max: 16,384 -> 4,096"], [])
    assert host.now(PTY, PID) == [4096, 32768]
    assert host.left() == []


def test_again_changes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096)
    host.tune(kernel__pty__max=16384)
    before = (host.base / RECORD).read_bytes()
    assert host.tune(kernel__pty__max=16384).said == []
    assert (host.base / RECORD).read_bytes() == before


def test_raised_in_two_steps_it_goes_back_to_the_first(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096, kernel__pid_max=100)
    host.tune(kernel__pty__max=8192)
    host.tune(kernel__pty__max=16384, kernel__pid_max=200)
    host.restore()
    assert host.now(PTY, PID) == [4096, 100]


def test_what_others_have_set_meanwhile_stays(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096, kernel__pid_max=100)
    host.tune(kernel__pty__max=16384, kernel__pid_max=200)
    host.set(PTY, 20_000)
    restored = host.restore()
    assert host.now(PTY, PID) == [20_000, 100]
    assert "kernel.pty.max: stays 20000, which somebody else has set" in restored.said
    assert host.left() == []


def test_raising_that_was_interrupted_leaves_nothing_to_say(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096)
    host.tune(kernel__pty__max=16384)
    host.set(PTY, 4096)  # as if it had been killed between the record and the change
    assert (host.restore().said, host.now(PTY), host.left()) == ([], [4096], [])


def test_after_a_boot_there_is_nothing_to_put_back(tmp_path: Path) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096)
    host.tune(kernel__pty__max=16384)
    Path(host.source.path("/proc/sys/kernel/random/boot_id")).write_text("two\n")
    host.set(PTY, 16384)  # as its new owner wants it
    assert host.restore().said == []
    assert host.now(PTY) == [16384]
    assert host.left() == []


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"boot_id": "one", "changes": [{"name": 1}]}'])
def test_a_damaged_record_is_as_none(tmp_path: Path, record: bytes) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096)
    (host.base / RECORD).write_bytes(record)
    assert host.tune(kernel__pty__max=16384).problems == []
    host.restore()
    assert host.now(PTY) == [4096]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    host = Machine(tmp_path)
    tuned = host.tune(kernel__pty__max=16384)
    assert tuned.problems == [f"{PTY} is not there: this kernel, or the container this is, does not have it"]
    assert host.left() == []


def test_what_the_kernel_refuses_is_said_and_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, value: bytes) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    host = Machine(tmp_path, kernel__pty__max=4096)
    monkeypatch.setattr("shims.doctor.tune.write_file", refuse)
    tuned = host.tune(kernel__pty__max=16384)
    assert (tuned.said, tuned.problems) == ([], ["kernel.pty.max stays 4,096: operation not permitted"])
    assert host.left() == []


def test_where_nothing_can_be_recorded_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Machine(tmp_path, kernel__pty__max=4096)
    host.base.rmdir()
    monkeypatch.setattr(tune, "Source", lambda: host.source)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert tune.main([str(host.base)]) == 0
    said = capsys.readouterr()
    assert said.out == "nothing was changed\n"
    assert "tuned.json.new: No such file or directory" in said.err
    assert host.now(PTY) == [4096]


def test_what_cannot_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, value: bytes) -> None:
        raise OSError(22, "Invalid argument", path)

    host = Machine(tmp_path, kernel__pty__max=4096)
    host.tune(kernel__pty__max=16384)
    with monkeypatch.context() as patched:
        patched.setattr("shims.doctor.tune.write_file", refuse)
        assert host.restore().problems == ["kernel.pty.max stays 16,384: invalid argument"]
    assert host.left() == [RECORD]
    host.restore()
    assert host.now(PTY) == [4096]


def test_targets_leave_the_order_of_neighbour_thresholds() -> None:
    for version in ("ipv4", "ipv6"):
        values = [TARGETS[f"net.{version}.neigh.default.gc_thresh{number}"] for number in (1, 2, 3)]
        assert values == sorted(values)


def test_the_limit_of_open_files_is_raised_for_a_process(tmp_path: Path) -> None:
    host = Machine(tmp_path, fs__nr_open=300)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (100, 200))
        tuning = host.tuning()
        tuning.raise_descriptors(process.pid)
        if tuning.problems:  # not everybody may
            assert tuning.problems == ["open files of a process stay 200: that needs CAP_SYS_RESOURCE"]
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (100, 200)
        else:
            assert tuning.said == ["open files of a process: 200 -> 300"]
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (100, 300)
        again = host.tuning()
        host.set("fs.nr_open", 150)
        again.raise_descriptors(process.pid)
        assert (again.said, again.problems) == ([], [])
    finally:
        process.communicate(b"\n")
