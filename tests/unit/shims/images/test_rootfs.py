"""The small root file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from shims.images import rootfs


def test_build_and_again(tmp_path: Path) -> None:
    rootfs.build(tmp_path)
    assert (tmp_path / "bin/sh").resolve() == tmp_path / "bin/busybox"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "tmp").stat().st_mode & 0o1777 == 0o1777
    (tmp_path / "etc/hosts").write_text("mine\n")
    (tmp_path / "bin/sh").unlink()
    inode = (tmp_path / "bin/busybox").stat().st_ino
    rootfs.build(tmp_path)  # completes, and keeps what is there
    assert (tmp_path / "bin/sh").exists()
    assert (tmp_path / "etc/hosts").read_text() == "mine\n"
    assert (tmp_path / "bin/busybox").stat().st_ino == inode


def test_agent_in_it(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    for content in ("old", "new"):
        agent.write_text(content)
        rootfs.build(tmp_path / "root", agent=agent)
        assert (tmp_path / "root/miniccc").read_text() == content
    assert (tmp_path / "root/bin/minibus-agent").stat().st_mode & 0o777 == 0o755


def test_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(rootfs.RootfsError, match="install the Debian package busybox-static"):
        rootfs.build(tmp_path, tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert rootfs.main([str(tmp_path / "file")]) == 1
    assert rootfs.main([]) == 2
    said = capsys.readouterr().err
    assert "cannot build" in said and "usage:" in said and "Traceback" not in said
