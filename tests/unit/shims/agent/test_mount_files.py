"""What the agent serves of files: content and attributes."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from pathlib import Path

from shims.agent.mounts import fuse
from shims.agent.mounts.server import MAX_HANDLES
from tests.unit.shims.agent.fuse_kernel import Kernel, attributes

# --- files


def test_reading_and_writing(kernel: Kernel) -> None:
    reply = kernel.ask(fuse.CREATE, body=fuse.CREATE_IN.pack(os.O_RDWR | os.O_CREAT, 0o640, 0, 0) + b"f\0")
    handle, flags, _ = fuse.OPEN_OUT.unpack(reply[fuse.ENTRY_SIZE :])
    assert flags == 0 and stat.S_IMODE(os.lstat(kernel.root / "f").st_mode) == 0o640
    assert fuse.WRITE_OUT.unpack(kernel.write(handle, b"hello", 3))[0] == 5
    assert kernel.read(handle) == b"\0\0\0hello"
    assert kernel.read(handle, 5, 2) == b"ll"
    assert kernel.read(handle, 1000) == b"" and not kernel.refused
    assert kernel.write(handle, b"x", size=7) == b"" and kernel.refused == errno.EINVAL
    kernel.ask(fuse.FSYNC, body=fuse.HANDLE_IN.pack(handle, 1, 0))
    assert not kernel.refused
    kernel.ask(fuse.UNLINK, body=b"f\0")
    node = struct.unpack_from("=Q", reply)[0]
    assert attributes(kernel.ask(fuse.GETATTR, node, fuse.GETATTR_IN.pack(0, 0, 0)))["size"] == 8
    kernel.ask(fuse.RELEASE, body=fuse.HANDLE_IN.pack(handle, 0, 0))
    assert kernel.read(handle) == b"" and kernel.refused == errno.EBADF
    kernel.ask(fuse.RELEASE, body=fuse.HANDLE_IN.pack(handle, 0, 0))
    assert kernel.refused == errno.EBADF


def test_a_read_is_never_larger_than_agreed(kernel: Kernel) -> None:
    (kernel.root / "f").write_bytes(bytes(3 * fuse.MAX_IO))
    handle = kernel.open(kernel.look("f"))
    assert len(kernel.read(handle, 0, 2**32 - 1)) == fuse.MAX_IO
    assert kernel.read(handle, 2**64 - 1) == b"" and kernel.refused == errno.EINVAL


def test_creating_what_is_there(kernel: Kernel) -> None:
    (kernel.root / "f").write_text("old")
    body = fuse.CREATE_IN.pack(os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, 0, 0) + b"f\0"
    kernel.ask(fuse.CREATE, body=body)
    assert kernel.refused == errno.EEXIST
    kernel.ask(fuse.CREATE, body=fuse.CREATE_IN.pack(os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600, 0, 0) + b"f\0")
    assert not kernel.refused and (kernel.root / "f").read_text() == ""
    (kernel.root / "l").symlink_to("/etc/passwd")
    kernel.ask(fuse.CREATE, body=fuse.CREATE_IN.pack(os.O_RDWR | os.O_CREAT, 0o600, 0, 0) + b"l\0")
    assert kernel.refused == errno.EOPNOTSUPP


def test_appending_and_truncating(kernel: Kernel) -> None:
    (kernel.root / "f").write_text("abc")
    node = kernel.look("f")
    kernel.write(kernel.open(node, os.O_WRONLY | os.O_APPEND), b"d", 0)
    assert (kernel.root / "f").read_text() == "abcd", "what the guest has written meanwhile stays"
    kernel.open(node, os.O_WRONLY | os.O_TRUNC)
    assert (kernel.root / "f").read_text() == ""


def test_only_regular_files_are_opened(kernel: Kernel) -> None:
    """A fifo would keep the agent waiting for its other end."""
    os.mkfifo(kernel.root / "fifo")
    (kernel.root / "link").symlink_to("fifo")
    (kernel.root / "dir").mkdir()
    begin = time.monotonic()
    for name in ("fifo", "link", "dir"):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            assert kernel.open(kernel.look(name), flags) == 0 and kernel.refused == errno.EOPNOTSUPP
        assert kernel.set(kernel.look(name), fuse.FATTR_SIZE, size=0) == b""
    assert time.monotonic() - begin < 5.0


def test_what_has_no_size_is_read_to_its_end(kernel: Kernel) -> None:
    proc = Kernel(Path("/proc"))
    try:
        node = proc.look("uptime")
        reply = proc.ask(fuse.OPEN, node, fuse.OPEN_IN.pack(os.O_RDONLY, 0))
        handle, flags, _ = fuse.OPEN_OUT.unpack(reply)
        assert flags == fuse.FOPEN_DIRECT_IO
        assert len(proc.read(handle).split()) == 2
    finally:
        proc.server.close()
    (kernel.root / "full").write_text("x")
    (kernel.root / "empty").write_text("")
    for name, access, wanted in (("full", os.O_RDONLY, 0), ("empty", os.O_RDWR, 0), ("empty", os.O_RDONLY, 1)):
        reply = kernel.ask(fuse.OPEN, kernel.look(name), fuse.OPEN_IN.pack(access, 0))
        assert fuse.OPEN_OUT.unpack(reply)[1] == wanted


def test_a_bounded_number_is_open(kernel: Kernel) -> None:
    (kernel.root / "f").write_text("")
    node = kernel.look("f")
    handles = [kernel.open(node) for _ in range(MAX_HANDLES)]
    assert len(set(handles)) == MAX_HANDLES and 0 not in handles
    assert kernel.open(node) == 0 and kernel.refused == errno.ENFILE
    kernel.ask(fuse.OPENDIR, body=fuse.OPEN_IN.pack(0, 0))
    assert kernel.refused == errno.ENFILE
    kernel.ask(fuse.RELEASE, body=fuse.HANDLE_IN.pack(handles[7], 0, 0))
    assert kernel.open(node)


# --- attributes


def test_attributes_are_set(kernel: Kernel) -> None:
    path = kernel.root / "f"
    path.write_text("abcdef")
    node = kernel.look("f")
    assert attributes(kernel.set(node, fuse.FATTR_MODE, mode=stat.S_IFREG | 0o4711))["mode"] == stat.S_IFREG | 0o4711
    seen = attributes(kernel.set(node, fuse.FATTR_UID | fuse.FATTR_GID, uid=7, gid=8))
    assert (seen["uid"], seen["gid"]) == (7, 8)
    assert attributes(kernel.set(node, fuse.FATTR_UID, uid=9))["gid"] == 8, "the group stays"
    assert attributes(kernel.set(node, fuse.FATTR_SIZE, size=2))["size"] == 2
    handle = kernel.open(node, os.O_RDWR)
    path.unlink()
    assert attributes(kernel.set(node, fuse.FATTR_SIZE | fuse.FATTR_FH, handle, size=9))["size"] == 9
    assert attributes(kernel.set(node, fuse.FATTR_MODE | fuse.FATTR_FH, handle, mode=0o600))["mode"] & 0o777 == 0o600
    assert kernel.set(node, fuse.FATTR_MODE, mode=0o600) == b"" and kernel.refused == errno.ENOENT


def test_times_are_set(kernel: Kernel) -> None:
    path = kernel.root / "f"
    path.write_text("")
    os.utime(path, ns=(5 * 10**9, 6 * 10**9))
    node = kernel.look("f")
    seen = attributes(kernel.set(node, fuse.FATTR_MTIME, mtime=100, mtime_ns=3))
    assert (seen["atime"], seen["mtime"], seen["mtime_ns"]) == (5, 100, 3)
    now_s = time.time()
    seen = attributes(kernel.set(node, fuse.FATTR_ATIME | fuse.FATTR_ATIME_NOW, atime=1))
    assert abs(seen["atime"] - now_s) < 60 and seen["mtime"] == 100
    assert kernel.set(node, fuse.FATTR_MTIME, mtime=2**64 - 1) == b"" and kernel.refused == errno.EINVAL


def test_of_links_the_links(kernel: Kernel) -> None:
    target = kernel.root / "target"
    target.write_text("")
    target.chmod(0o644)
    (kernel.root / "l").symlink_to("target")
    node = kernel.look("l")
    kernel.set(node, fuse.FATTR_UID, uid=5)
    kernel.set(node, fuse.FATTR_MTIME, mtime=50)
    assert os.lstat(kernel.root / "l").st_uid == 5 and os.lstat(kernel.root / "l").st_mtime == 50
    assert target.stat().st_uid == os.getuid() and target.stat().st_mtime != 50
    assert kernel.set(node, fuse.FATTR_MODE, mode=0o777) == b"" and kernel.refused == errno.EOPNOTSUPP
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_how_full_it_is(kernel: Kernel) -> None:
    found = os.statvfs(kernel.root)
    reply = kernel.ask(fuse.STATFS)
    assert len(reply) == 80  # struct fuse_statfs_out
    blocks, _, _, _, _, size, length, fragment = fuse.STATFS_OUT.unpack(reply)
    assert (blocks, size, length, fragment) == (found.f_blocks, found.f_bsize, 255, found.f_frsize)
