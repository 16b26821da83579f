"""Which number means which file: the kernel of the host speaks of nodes, and the guest's of paths.

A bounded number is remembered. Whoever asks for one that was forgotten gets ESTALE, upon which the host's kernel looks
all names up again by itself.
"""

from __future__ import annotations

import errno
import os
import stat

from shims.agent.mounts.fuse import ROOT_ID

MAX_NODES = 20_000
GONE = 0
"""Parent of what has been removed."""

Identity = tuple[int, int, int]


class Node:
    """A name in a directory, what was found there, and how often the kernel was told of it."""

    __slots__ = ("identity", "name", "parent", "told")

    def __init__(self, parent: int, name: bytes, identity: Identity) -> None:
        self.parent, self.name, self.identity, self.told = parent, name, identity, 1


def identity_of(status: os.stat_result) -> Identity:
    """Device, number and type: another file under the same name is another node."""
    return status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode)


class Nodes:
    """See the module; raises OSError."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._nodes: dict[int, Node] = {}
        """Those used last are last."""
        self._by_name: dict[tuple[int, bytes], int] = {}
        self._next = ROOT_ID + 1

    def __len__(self) -> int:
        return len(self._nodes)

    def path(self, number: int) -> bytes:
        """Where a node is."""
        parts: list[bytes] = []
        while number != ROOT_ID:
            node = self._nodes.pop(number, None)
            if node is None:
                raise OSError(errno.ESTALE, "")
            self._nodes[number] = node  # its directories after it, so that they are forgotten later
            if node.parent == GONE:
                raise OSError(errno.ENOENT, "")
            parts.append(node.name)
            number = node.parent
        return b"/".join((self._root.rstrip(b"/"), *reversed(parts))) if parts else self._root

    def child(self, parent: int, name: bytes) -> bytes:
        """The path of a name in a directory."""
        return self.path(parent).rstrip(b"/") + b"/" + name

    def found(self, parent: int, name: bytes, status: os.stat_result) -> int:
        """The number of what was found under a name."""
        identity = identity_of(status)
        number = self._by_name.get((parent, name), 0)
        if number and self._nodes[number].identity == identity:
            self._nodes[number].told += 1
            return number
        if number:
            self.removed(parent, name)
        while len(self._nodes) >= MAX_NODES:
            self._drop(next(iter(self._nodes)))
        number, self._next = self._next, self._next + 1
        self._nodes[number] = Node(parent, name, identity)
        self._by_name[parent, name] = number
        return number

    def removed(self, parent: int, name: bytes) -> None:
        """This name means nothing any more."""
        number = self._by_name.pop((parent, name), 0)
        if number:
            self._nodes[number].parent = GONE

    def moved(self, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """A file has another name; what had that one before is gone."""
        self.removed(new_parent, new_name)
        number = self._by_name.pop((parent, name), 0)
        if number:
            self._nodes[number].parent, self._nodes[number].name = new_parent, new_name
            self._by_name[new_parent, new_name] = number

    def forget(self, number: int, times: int) -> None:
        """The kernel has forgotten so many of the times that it was told of a node."""
        node = self._nodes.get(number)
        if node is not None:
            node.told -= times
            if node.told <= 0:
                self._drop(number)

    def _drop(self, number: int) -> None:
        node = self._nodes.pop(number)
        if node.parent != GONE:
            self._by_name.pop((node.parent, node.name), None)
