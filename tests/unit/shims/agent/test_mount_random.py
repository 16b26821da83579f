"""Random changes through a mount do what they do in a directory, and no number ever means another file than before."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shims.agent.mounts import fuse, nodes
from tests.unit.examples import examples
from tests.unit.shims.agent.fuse_kernel import Kernel, attributes

PATHS = st.sampled_from(("a", "b", "a/a", "a/b", "b/a"))
Change = tuple[str, str, str]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["mkdir", "create", "create", "unlink", "rmdir", "rename", "link", "symlink"]), PATHS, PATHS
    ),
    min_size=10,
    max_size=30,
)


def directly(root: Path, change: Change) -> int:
    """Do it in a directory; the errno."""
    what, path, other = change
    one, two = root / path, root / other
    calls: dict[str, Callable[[], object]] = {
        "mkdir": one.mkdir,
        "create": lambda: one.open("x").close(),
        "unlink": one.unlink,
        "rmdir": one.rmdir,
        "rename": lambda: one.rename(two),
        "link": lambda: os.link(one, two, follow_symlinks=False),
        "symlink": lambda: two.symlink_to("target"),
    }
    try:
        calls[what]()
    except OSError as error:
        return error.errno or 0
    return 0


def through(kernel: Kernel, change: Change) -> int:
    """Do it as the kernel would; the errno."""
    what, path, other = change
    parents = [walk(kernel, one.rpartition("/")[0]) for one in (path, other)]
    needed = {"rename": parents, "link": parents, "symlink": parents[1:]}.get(what, parents[:1])
    if 0 in needed:
        return errno.ENOENT
    parent, into = parents
    name, new = (one.rpartition("/")[2].encode() + b"\0" for one in (path, other))
    match what:
        case "mkdir":
            kernel.ask(fuse.MKDIR, parent, fuse.MKDIR_IN.pack(0o755, 0) + name)
        case "create":
            reply = kernel.ask(fuse.CREATE, parent, fuse.CREATE_IN.pack(os.O_RDWR | os.O_EXCL, 0o644, 0, 0) + name)
            refused = kernel.refused
            if reply:
                handle = fuse.OPEN_OUT.unpack(reply[fuse.ENTRY_SIZE :])[0]
                kernel.ask(fuse.RELEASE, body=fuse.HANDLE_IN.pack(handle, 0, 0))
            return refused
        case "unlink":
            kernel.ask(fuse.UNLINK, parent, name)
        case "rmdir":
            kernel.ask(fuse.RMDIR, parent, name)
        case "rename":
            kernel.ask(fuse.RENAME, parent, fuse.RENAME_IN.pack(into) + name + new)
        case "link":
            old = walk(kernel, path)
            if not old:
                return errno.ENOENT
            kernel.ask(fuse.LINK, into, fuse.LINK_IN.pack(old) + new)
        case _:
            kernel.ask(fuse.SYMLINK, into, new + b"target\0")
    return kernel.refused


def walk(kernel: Kernel, path: str) -> int:
    """The node at a path; 0 if there is none."""
    node = fuse.ROOT_ID
    for name in filter(None, path.split("/")):
        node = node and kernel.look(name, node)
    return node


def tree(root: Path) -> list[tuple[str, bool, bool, int]]:
    """All that is below: path, whether it is a directory or a link, hard links."""
    found = [(path, path.lstat()) for path in root.rglob("*")]
    return sorted(
        (str(path.relative_to(root)), path.is_dir(), path.is_symlink(), 0 if path.is_dir() else status.st_nlink)
        for path, status in found
    )


def numbers_mean_what_they_meant(kernel: Kernel, meant: dict[int, int]) -> None:
    """Learn what each number means; each that was learned means the same, or nothing any more."""
    for path in kernel.root.rglob("*"):
        node = walk(kernel, str(path.relative_to(kernel.root)))
        if node:
            meant.setdefault(node, path.lstat().st_ino)
    for node, number in meant.items():
        reply = kernel.ask(fuse.GETATTR, node, fuse.GETATTR_IN.pack(0, 0, 0))
        assert kernel.refused in (errno.ESTALE, errno.ENOENT) if not reply else attributes(reply)["ino"] == number


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES, st.sampled_from([4, 6, 1000]))
def test_random_changes(changes: list[Change], remembered: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mbt-") as scratch, mock.patch.object(nodes, "MAX_NODES", remembered):
        one, two = Path(scratch, "one"), Path(scratch, "two")
        one.mkdir()
        two.mkdir()
        kernel, meant = Kernel(one), dict[int, int]()
        try:
            for change in changes:
                wanted = directly(two, change)
                seen = through(kernel, change)
                assert bool(seen) == bool(wanted), (change, seen, wanted)
                assert tree(one) == tree(two)
                numbers_mean_what_they_meant(kernel, meant)
        finally:
            kernel.server.close()
