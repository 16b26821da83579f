"""What the agent serves of directories: names, nodes, listings."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from shims.agent.mounts import fuse, nodes
from shims.agent.mounts.parts import Numbers
from tests.unit.shims.agent.fuse_kernel import PAGE, Kernel, attributes, entries

# --- names


def test_looking(kernel: Kernel) -> None:
    (kernel.root / "f").write_bytes(b"12345")
    os.utime(kernel.root / "f", ns=(1_000_000_007, 2_000_000_009))
    entry = kernel.ask(fuse.LOOKUP, body=b"f\0")
    node, generation, valid_s, _, _, _ = fuse.ENTRY_OUT.unpack_from(entry)
    status = os.lstat(kernel.root / "f")
    seen = attributes(entry)
    assert (node > fuse.ROOT_ID, generation, valid_s) == (True, 0, 1)
    assert (seen["ino"], seen["size"], seen["mode"], seen["links"]) == (status.st_ino, 5, status.st_mode, 1)
    assert (seen["atime"], seen["atime_ns"], seen["mtime"], seen["mtime_ns"]) == (1, 7, 2, 9)
    assert kernel.look("f") == node, "the same file has the same number"
    assert kernel.look("none") == 0 and kernel.refused == errno.ENOENT
    assert attributes(kernel.ask(fuse.GETATTR, node, fuse.GETATTR_IN.pack(0, 0, 0))) == seen


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc", b"../root"])
def test_a_name_leads_nowhere_else(kernel: Kernel, name: bytes) -> None:
    for operation, head in (
        (fuse.LOOKUP, b""),
        (fuse.UNLINK, b""),
        (fuse.RMDIR, b""),
        (fuse.MKDIR, fuse.MKDIR_IN.pack(0o755, 0)),
        (fuse.MKNOD, fuse.MKNOD_IN.pack(stat.S_IFREG, 0, 0, 0)),
        (fuse.CREATE, fuse.CREATE_IN.pack(os.O_RDWR, 0o644, 0, 0)),
        (fuse.LINK, fuse.LINK_IN.pack(fuse.ROOT_ID)),
    ):
        assert kernel.ask(operation, body=head + name + b"\0") == b""
        assert kernel.refused == errno.EINVAL
    for body in (name + b"\0x\0", b"x\0" + name + b"\0"):
        kernel.ask(fuse.RENAME, body=fuse.RENAME_IN.pack(fuse.ROOT_ID) + body)
        assert kernel.refused == errno.EINVAL
    kernel.ask(fuse.SYMLINK, body=name + b"\0target\0")
    assert kernel.refused == errno.EINVAL
    assert entries(kernel.root) == []


def test_numbers_differ_between_file_systems() -> None:
    """For the host it is one file system, and the same number twice would be a hard link, or a loop."""
    kernel = Kernel(Path("/"))
    try:
        seen: dict[int, tuple[int, int]] = {}
        for path in ("proc", "sys", "dev", "dev/shm", "tmp", "usr"):
            node = fuse.ROOT_ID
            for name in path.split("/"):
                entry = kernel.ask(fuse.LOOKUP, node, name.encode() + b"\0")
                (node,) = struct.unpack_from("=Q", entry)
            status = os.lstat(f"/{path}")
            assert seen.setdefault(attributes(entry)["ino"], (status.st_dev, status.st_ino)) == (
                status.st_dev,
                status.st_ino,
            )
            if status.st_dev == os.lstat("/").st_dev:
                assert attributes(entry)["ino"] == status.st_ino
    finally:
        kernel.server.close()
    numbers = Numbers()
    assert [numbers.of(device, 1) for device in (7, 8, 9, 7)] == [1, *(numbers.of(n, 1) for n in (8, 9)), 1]
    assert len({numbers.of(device, number) for device in range(7, 40) for number in range(100)}) == 33 * 100


def test_names_of_any_bytes(kernel: Kernel) -> None:
    for name in (b"\xff\xfe", b"a b\n\t", "ü".encode(), b"-", b"n" * 255):
        assert kernel.ask(fuse.MKDIR, body=fuse.MKDIR_IN.pack(0o700, 0) + name + b"\0")
        assert kernel.look(name)
    assert len(entries(kernel.root)) == 5
    assert kernel.look(b"n" * 256) == 0 and kernel.refused == errno.ENAMETOOLONG


def test_making_and_removing(kernel: Kernel) -> None:
    mask = os.umask(0o077)
    try:
        directory = kernel.ask(fuse.MKDIR, body=fuse.MKDIR_IN.pack(0o775, 0) + b"d\0")
        kernel.ask(fuse.MKNOD, body=fuse.MKNOD_IN.pack(stat.S_IFIFO | 0o666, 0, 0, 0) + b"fifo\0")
    finally:
        assert os.umask(mask) == 0o077, "the agent's own mask is as it was"
    assert stat.S_IMODE(os.lstat(kernel.root / "d").st_mode) == 0o775, "the host has applied its mask already"
    assert os.lstat(kernel.root / "fifo").st_mode == stat.S_IFIFO | 0o666
    (node,) = struct.unpack_from("=Q", directory)
    kernel.ask(fuse.SYMLINK, node, b"l\0../../outside\0")
    link = kernel.look("l", node)
    assert kernel.ask(fuse.READLINK, link) == b"../../outside"
    kernel.ask(fuse.RMDIR, body=b"d\0")
    assert kernel.refused == errno.ENOTEMPTY
    kernel.ask(fuse.UNLINK, node, b"l\0")
    kernel.ask(fuse.RMDIR, body=b"d\0")
    assert not kernel.refused and entries(kernel.root) == ["fifo"]
    kernel.ask(fuse.GETATTR, node, fuse.GETATTR_IN.pack(0, 0, 0))
    assert kernel.refused == errno.ENOENT


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, 0])
def test_no_devices_are_made(kernel: Kernel, kind: int) -> None:
    kernel.ask(fuse.MKNOD, body=fuse.MKNOD_IN.pack(kind | 0o666, 0x103, 0, 0) + b"x\0")
    assert kernel.refused == errno.EPERM and entries(kernel.root) == []


def test_renaming_moves_all_that_is_below(kernel: Kernel) -> None:
    (kernel.root / "a" / "b").mkdir(parents=True)
    (kernel.root / "a" / "b" / "f").write_text("x")
    (kernel.root / "c").mkdir()
    a, c = kernel.look("a"), kernel.look("c")
    b = kernel.look("b", a)
    file = kernel.look("f", b)
    kernel.ask(fuse.RENAME, a, fuse.RENAME_IN.pack(c) + b"b\0B\0")
    assert not kernel.refused and (kernel.root / "c" / "B" / "f").exists()
    assert kernel.look("B", c) == b, "it is the same directory"
    assert kernel.read(kernel.open(file)) == b"x"
    (kernel.root / "other").write_text("y")
    other = kernel.look("other")
    kernel.ask(fuse.RENAME, b, fuse.RENAME_IN.pack(fuse.ROOT_ID) + b"f\0other\0")
    assert kernel.look("other") == file
    kernel.ask(fuse.GETATTR, other, fuse.GETATTR_IN.pack(0, 0, 0))
    assert kernel.refused == errno.ENOENT


def test_a_hard_link(kernel: Kernel) -> None:
    (kernel.root / "f").write_text("x")
    (kernel.root / "l").symlink_to("f")
    entry = kernel.ask(fuse.LINK, body=fuse.LINK_IN.pack(kernel.look("f")) + b"g\0")
    assert attributes(entry)["links"] == 2
    kernel.ask(fuse.LINK, body=fuse.LINK_IN.pack(kernel.look("l")) + b"m\0")
    assert (kernel.root / "m").readlink() == Path("f"), "of a link the link"


def test_another_file_under_the_same_name_is_another_node(kernel: Kernel) -> None:
    (kernel.root / "x").write_text("")
    file = kernel.look("x")
    (kernel.root / "x").unlink()
    (kernel.root / "x").mkdir()
    directory = kernel.look("x")
    assert directory not in (0, file)
    kernel.ask(fuse.GETATTR, file, fuse.GETATTR_IN.pack(0, 0, 0))
    assert kernel.refused == errno.ENOENT


# --- directories


@pytest.mark.parametrize("plus", [False, True])
def test_a_large_directory_comes_in_pieces(kernel: Kernel, plus: bool) -> None:
    wanted = {b"n%d" % number for number in range(1000)} | {b"\xff", b"l", b"d"}
    for name in wanted:
        Path(os.fsdecode(os.fsencode(kernel.root) + b"/" + name)).touch()
    (kernel.root / "l").unlink()
    (kernel.root / "l").symlink_to("x")
    (kernel.root / "d").unlink()
    (kernel.root / "d").mkdir()
    handle = kernel.opendir()
    found = kernel.names(handle, plus=plus)
    assert sorted(name for name, *_ in found) == sorted(wanted | {b".", b".."})
    kinds = {name: kind for name, kind, *_ in found}
    assert (kinds[b"n1"], kinds[b"l"], kinds[b"d"], kinds[b"."]) == (8, 10, 4, 4)
    if plus:
        numbers = {name: node for name, _, _, node in found}
        assert numbers.pop(b".") == numbers.pop(b"..") == 0
        assert len(set(numbers.values())) == len(wanted) and numbers[b"n1"] == kernel.look("n1")
    assert [name for name, *_ in kernel.names(handle, plus=plus)] == [name for name, *_ in found], "from the beginning"
    at = found[500][2]
    body = kernel.ask(fuse.READDIR, body=fuse.READ_IN.pack(handle, at, PAGE, 0, 0, 0, 0))
    _, offset, length, _ = fuse.DIRENT.unpack_from(body)
    assert (offset, body[fuse.DIRENT.size :][:length]) == (at + 1, found[501][0]), "from the middle"
    assert kernel.ask(fuse.READDIR, body=fuse.READ_IN.pack(handle, 10**6, PAGE, 0, 0, 0, 0)) == b""
    kernel.ask(fuse.RELEASEDIR, body=fuse.HANDLE_IN.pack(handle, 0, 0))
    kernel.ask(fuse.READDIR, body=fuse.READ_IN.pack(handle, 0, PAGE, 0, 0, 0, 0))
    assert kernel.refused == errno.EBADF


# --- nodes


def test_a_bounded_number_of_nodes_is_remembered(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_NODES", 10)
    (kernel.root / "d").mkdir()
    for number in range(30):
        (kernel.root / "d" / f"f{number}").write_text(str(number))
    directory = kernel.look("d")
    numbers = [kernel.look(f"f{number}", directory) for number in range(30)]
    assert 0 not in numbers, "the directory is in use, so it is not forgotten"
    assert kernel.open(numbers[0]) == 0 and kernel.refused == errno.ESTALE
    assert kernel.read(kernel.open(numbers[29])) == b"29"
    assert kernel.read(kernel.open(kernel.look("f0", directory))) == b"0"


def test_what_the_kernel_forgets_is_forgotten(kernel: Kernel) -> None:
    for name in "abc":
        (kernel.root / name).write_text("")
    a, b, c = kernel.look("a"), kernel.look("b"), kernel.look("c")
    kernel.look("a")
    kernel.ask(fuse.FORGET, a, fuse.FORGET_IN.pack(1))
    assert kernel.open(a), "it was told of it twice"
    kernel.ask(fuse.FORGET, a, fuse.FORGET_IN.pack(1))
    ones = fuse.FORGET_ONE.pack(b, 1) + fuse.FORGET_ONE.pack(c, 5) + fuse.FORGET_ONE.pack(999, 1)
    kernel.ask(fuse.BATCH_FORGET, 0, fuse.BATCH_FORGET_IN.pack(3, 0) + ones)
    for node in (a, b, c):
        assert kernel.open(node) == 0 and kernel.refused == errno.ESTALE
    assert kernel.look("a") not in (0, a)
