"""Which directories a guest may be mounted on, and which mounts are taken off."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bus.errors import BusError
from shims.files import guest_mount

LINE = "{0} 1 0:50 / {1} rw,nosuid - {2} {3} rw\n"


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The text of mountinfo; nothing is mounted by these tests."""
    path = tmp_path / "mountinfo"
    path.write_text(LINE.format(1, "/", "ext4", "/dev/x"))
    monkeypatch.setattr(guest_mount, "_MOUNTINFO", path)
    monkeypatch.setattr(guest_mount, "DEVICE", str(tmp_path / "nothing"))
    monkeypatch.setattr(guest_mount, "_may_mount", lambda: True)
    return path


def refusal(path: Path | str, *own: Path) -> str:
    with pytest.raises(BusError) as caught:
        guest_mount.mount(str(path), "minibus_abcd_cc1", own)
    return f"{caught.value.code}: {caught.value}"


def test_where_a_guest_cannot_be_mounted(tmp_path: Path, mounts: Path) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "none") == f"not_found: mount point does not exist: {tmp_path}/none"
    assert (
        refusal(tmp_path / "file") == f"invalid: {tmp_path}/file is not a directory, and nothing can be mounted there"
    )
    assert refusal("/x\0") == "invalid: /x\0 cannot be opened: embedded null byte"
    assert refusal("/" + "x" * 300).endswith("cannot be opened: File name too long")
    assert refusal(tmp_path / "full").endswith("is not empty: a guest is mounted on an empty directory")
    for own in (empty, tmp_path, tmp_path / "link"):
        assert "is in a directory that minibus works in" in refusal(tmp_path / "link", Path("/nonexistent"), own)
    mounts.write_text(mounts.read_text() + LINE.format(2, tmp_path, guest_mount.KIND, "minibus_efgh_cc7"))
    assert refusal(empty).endswith("is in the file system of a guest, or one is mounted there already")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOENT, "this host cannot mount guests: {0} is missing (`modprobe fuse`, or a kernel with FUSE)"),
        (errno.ENODEV, "this host cannot mount guests: {0} is missing (`modprobe fuse`, or a kernel with FUSE)"),
        (
            errno.EPERM,
            "this process may not mount: `cc mount` needs CAP_SYS_ADMIN and /dev/fuse, as under `minibus up`",
        ),
        (errno.EMFILE, "the guest cannot be mounted: Too many open files"),
    ],
)
def test_a_host_that_cannot(
    tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    real = os.open

    def fails(path: str, flags: int, *more: int) -> int:
        if path == guest_mount.DEVICE:
            raise OSError(number, "")
        return int(real(path, flags, *more))

    monkeypatch.setattr(os, "open", fails)
    assert refusal(empty) == f"unavailable: {told.format(guest_mount.DEVICE)}"


def test_a_process_that_may_not(tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not see the device either, and the host is not to blame."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(guest_mount, "_may_mount", lambda: False)
    assert refusal(empty).startswith("unavailable: this process may not mount")


def test_only_own_mounts_are_taken_off(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, kind = guest_mount.source_of("abcd", 7), guest_mount.KIND
    table = [
        ("/mnt/a", kind, own),
        ("/mnt/a b", kind, guest_mount.source_of("abcd", 8)),
        ("/mnt/other", kind, guest_mount.source_of("abce", 7)),
        ("/mnt/name", "ext4", own),
        ("/mnt/under", kind, own),
        ("/mnt/under", "ext4", "/dev/y"),
    ]
    taken: list[str] = []

    def write() -> None:
        lines = [LINE.format(n, point.replace(" ", "\\040"), *rest) for n, (point, *rest) in enumerate(table)]
        mounts.write_text("".join(lines))

    class Libc:
        @staticmethod
        def umount2(path: bytes, flags: int) -> int:
            assert flags == 2 | 8  # MNT_DETACH, UMOUNT_NOFOLLOW
            taken.append(path.decode())
            table[:] = [one for one in table if one[0] != path.decode()]
            write()
            return 0

    monkeypatch.setattr(guest_mount, "LIBC", Libc)
    write()
    assert guest_mount.unmount(guest_mount.is_of("abcd")) == ["/mnt/under"]
    assert taken == ["/mnt/a b", "/mnt/a"]
