"""systemd understands what an installation gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import units


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units.write(tmp_path, sys.prefix)
    names = sorted(map(str, (tmp_path / "systemd").iterdir()))
    done = _run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    broken = tmp_path / "systemd" / "minibus-vm.service"
    broken.write_text(broken.read_text().replace("RestrictRealtime=yes", "RestrictRealtime=perhaps"))
    assert "perhaps" in _run("systemd-analyze", "verify", "--man=no", str(broken)).stderr


def test_group_and_directories_are_made(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for kind in ("sysusers", "tmpfiles"):
        (root / "usr" / "lib" / f"{kind}.d").mkdir(parents=True)
        text = (units.PACKAGING / f"{kind}.d" / "minibus.conf").read_text()
        (root / "usr" / "lib" / f"{kind}.d" / "minibus.conf").write_text(text)
    done = _run("systemd-sysusers", f"--root={root}")
    assert done.returncode == 0, done
    assert [line.partition(":")[0] for line in (root / "etc" / "group").read_text().splitlines()] == ["minibus"]
    done = _run("systemd-tmpfiles", f"--root={root}", "--create")
    assert done.returncode == 0, done
    assert (root / "var/lib/minibus").stat().st_mode & 0o777 == (root / "etc/minibus").stat().st_mode & 0o777 == 0o755


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
