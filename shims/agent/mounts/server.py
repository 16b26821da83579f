"""The file systems of this guest, served to the kernel of the host: one request in, at most one reply out.

All that a request says is checked for its length. What is opened are regular files and directories only: opening a
fifo or a device could wait for ever, or do something.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from shims.agent.mounts import fuse
from shims.agent.mounts.listing import Listing
from shims.agent.mounts.nodes import Nodes
from shims.agent.mounts.parts import ExactMode, Numbers, attributes, checked, name_in, names_in, times

MAX_HANDLES = 256
"""Files and directories that are open at a time."""
VALID_S = 1
"""For so long the kernel may believe names and attributes without asking again."""
_OPEN_FLAGS = os.O_ACCMODE | os.O_TRUNC | os.O_APPEND | os.O_SYNC | os.O_DSYNC
_ALWAYS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_MADE = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)
"""What `MKNOD` makes."""


class Server:
    """All of one mount. `close` lets go of what is open."""

    def __init__(self, root: bytes = b"/") -> None:
        self._nodes = Nodes(root)
        self._numbers = Numbers()
        self._numbers.of(os.lstat(root).st_dev, 0)
        self._files: dict[int, tuple[int, int]] = {}
        """Descriptor and node of each open file."""
        self._listings: dict[int, Listing] = {}
        self._last = 0
        self._serve: dict[int, Callable[[int, bytes], bytes]] = {
            fuse.LOOKUP: self._lookup,
            fuse.GETATTR: self._getattr,
            fuse.SETATTR: self._setattr,
            fuse.READLINK: self._readlink,
            fuse.SYMLINK: self._symlink,
            fuse.MKNOD: self._mknod,
            fuse.MKDIR: self._mkdir,
            fuse.UNLINK: self._unlink,
            fuse.RMDIR: self._rmdir,
            fuse.RENAME: self._rename,
            fuse.LINK: self._link,
            fuse.OPEN: self._open,
            fuse.CREATE: self._create,
            fuse.READ: self._read,
            fuse.WRITE: self._write,
            fuse.FSYNC: self._fsync,
            fuse.RELEASE: self._release,
            fuse.OPENDIR: self._opendir,
            fuse.READDIR: self._readdir,
            fuse.READDIRPLUS: self._readdirplus,
            fuse.RELEASEDIR: self._releasedir,
            fuse.STATFS: self._statfs,
        }

    def close(self) -> None:
        """It is over."""
        for fd, _ in self._files.values():
            os.close(fd)
        for listing in self._listings.values():
            listing.close()
        self._files.clear()
        self._listings.clear()

    def take(self, data: bytes) -> bytes | None:
        """The reply to a request, if it has one; raises ValueError if it is none."""
        if len(data) < fuse.HEADER_IN.size or len(data) > fuse.MAX_REQUEST:
            raise ValueError(f"a request of {len(data)} bytes")
        length, operation, unique, node, *_ = fuse.HEADER_IN.unpack_from(data)
        if length != len(data):
            raise ValueError(f"a request of {len(data)} bytes that says it has {length}")
        body = data[fuse.HEADER_IN.size :]
        if operation in fuse.SILENT:
            self._forget(operation, node, body)
            return None
        serve = self._serve.get(operation)
        if serve is None:
            return fuse.refusal(unique, errno.ENOSYS)
        try:
            return fuse.reply(unique, serve(node, body))
        except OSError as error:
            return fuse.refusal(unique, error.errno or errno.EIO)
        except (struct.error, ValueError, OverflowError):  # too short, a zero byte in a name, a number beyond all
            return fuse.refusal(unique, errno.EINVAL)

    def _forget(self, operation: int, node: int, body: bytes) -> None:
        try:
            if operation == fuse.FORGET:
                self._nodes.forget(node, *fuse.FORGET_IN.unpack_from(body))
                return
            count, _ = fuse.BATCH_FORGET_IN.unpack_from(body)
            rest = body[fuse.BATCH_FORGET_IN.size :][: count * fuse.FORGET_ONE.size]
            for number, times in fuse.FORGET_ONE.iter_unpack(rest):
                self._nodes.forget(number, times)
        except struct.error:
            return  # nobody waits for an answer

    # --- names

    def _entry(self, parent: int, name: bytes) -> bytes:
        """What the kernel is to know of a name."""
        status = os.lstat(self._nodes.child(parent, name))
        number = self._nodes.found(parent, name, status)
        return fuse.ENTRY_OUT.pack(number, 0, VALID_S, VALID_S, 0, 0) + attributes(status, self._numbers)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(node, name_in(body))

    def _symlink(self, node: int, body: bytes) -> bytes:
        name, target = names_in(body)
        os.symlink(target, self._nodes.child(node, checked(name)))
        return self._entry(node, name)

    def _mknod(self, node: int, body: bytes) -> bytes:
        mode, _, _, _ = fuse.MKNOD_IN.unpack_from(body)
        name = name_in(body[fuse.MKNOD_IN.size :])
        if stat.S_IFMT(mode) not in _MADE:
            raise OSError(errno.EPERM, "")
        with ExactMode():
            os.mknod(self._nodes.child(node, name), mode)
        return self._entry(node, name)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        mode, _ = fuse.MKDIR_IN.unpack_from(body)
        name = name_in(body[fuse.MKDIR_IN.size :])
        with ExactMode():
            os.mkdir(self._nodes.child(node, name), mode & 0o7777)
        return self._entry(node, name)

    def _unlink(self, node: int, body: bytes) -> bytes:
        name = name_in(body)
        os.unlink(self._nodes.child(node, name))
        self._nodes.removed(node, name)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        name = name_in(body)
        os.rmdir(self._nodes.child(node, name))
        self._nodes.removed(node, name)
        return b""

    def _rename(self, node: int, body: bytes) -> bytes:
        (new_parent,) = fuse.RENAME_IN.unpack_from(body)
        old, new = (checked(name) for name in names_in(body[fuse.RENAME_IN.size :]))
        os.rename(self._nodes.child(node, old), self._nodes.child(new_parent, new))
        self._nodes.moved(node, old, new_parent, new)
        return b""

    def _link(self, node: int, body: bytes) -> bytes:
        (old,) = fuse.LINK_IN.unpack_from(body)
        name = name_in(body[fuse.LINK_IN.size :])
        os.link(self._nodes.path(old), self._nodes.child(node, name), follow_symlinks=False)
        return self._entry(node, name)

    def _readlink(self, node: int, body: bytes) -> bytes:
        return os.readlink(self._nodes.path(node))

    # --- attributes

    def _status(self, node: int, handle: int | None) -> os.stat_result:
        """Of an open file by its descriptor: it may have no name any more."""
        if handle in self._files:
            return os.fstat(self._files[handle][0])
        try:
            return os.lstat(self._nodes.path(node))
        except FileNotFoundError:
            for fd, number in self._files.values():
                if number == node:
                    return os.fstat(fd)
            raise

    def _getattr(self, node: int, body: bytes) -> bytes:
        flags, _, handle = fuse.GETATTR_IN.unpack_from(body)
        status = self._status(node, handle if flags & fuse.GETATTR_FH else None)
        return fuse.ATTR_OUT.pack(VALID_S, 0, 0) + attributes(status, self._numbers)

    def _setattr(self, node: int, body: bytes) -> bytes:
        which, _, handle, size, _, *rest = fuse.SETATTR_IN.unpack_from(body)
        atime, mtime, _, atime_ns, mtime_ns, _, mode, _, user, group, _ = rest
        known = handle if which & fuse.FATTR_FH and handle in self._files else None
        target: int | bytes = self._nodes.path(node) if known is None else self._files[known][0]
        if which & fuse.FATTR_SIZE:
            self._truncate(target, size)
        if which & (fuse.FATTR_UID | fuse.FATTR_GID):
            owner = user if which & fuse.FATTR_UID else -1
            of_group = group if which & fuse.FATTR_GID else -1
            if isinstance(target, bytes):
                os.lchown(target, owner, of_group)
            else:
                os.chown(target, owner, of_group)
        if which & fuse.FATTR_MODE:
            if isinstance(target, bytes) and stat.S_ISLNK(os.lstat(target).st_mode):
                raise OSError(errno.EOPNOTSUPP, "")
            os.chmod(target, stat.S_IMODE(mode))
        status = self._status(node, known)
        if which & (fuse.FATTR_ATIME | fuse.FATTR_MTIME):
            both_ns = times(which, status, atime * 10**9 + atime_ns, mtime * 10**9 + mtime_ns)
            if isinstance(target, bytes):
                os.utime(target, ns=both_ns, follow_symlinks=False)
            else:
                os.utime(target, ns=both_ns)
            status = self._status(node, known)
        return fuse.ATTR_OUT.pack(VALID_S, 0, 0) + attributes(status, self._numbers)

    def _truncate(self, target: int | bytes, size: int) -> None:
        if not isinstance(target, bytes):
            os.ftruncate(target, size)
            return
        fd = self._opened(target, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _statfs(self, node: int, body: bytes) -> bytes:
        found = os.statvfs(self._nodes.path(node))
        counts = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return fuse.STATFS_OUT.pack(*counts, found.f_bsize & 0xFFFFFFFF, fuse.MAX_NAME, found.f_frsize & 0xFFFFFFFF)

    # --- files

    def _opened(self, path: bytes, flags: int) -> int:
        """A descriptor of a regular file."""
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.EOPNOTSUPP, "")
        fd = os.open(path, flags & _OPEN_FLAGS | _ALWAYS)
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # it was exchanged meanwhile
            os.close(fd)
            raise OSError(errno.EOPNOTSUPP, "")
        return fd

    def _handle(self) -> int:
        if len(self._files) + len(self._listings) >= MAX_HANDLES:
            raise OSError(errno.ENFILE, "")
        self._last += 1
        return self._last

    def _open(self, node: int, body: bytes) -> bytes:
        flags, _ = fuse.OPEN_IN.unpack_from(body)
        handle = self._handle()
        fd = self._opened(self._nodes.path(node), flags)
        self._files[handle] = fd, node
        # What has no size, as files in /proc have none, is read until nothing comes.
        empty = flags & os.O_ACCMODE == os.O_RDONLY and os.fstat(fd).st_size == 0
        return fuse.OPEN_OUT.pack(handle, fuse.FOPEN_DIRECT_IO if empty else 0, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode, _, _ = fuse.CREATE_IN.unpack_from(body)
        name = name_in(body[fuse.CREATE_IN.size :])
        path = self._nodes.child(node, name)
        handle = self._handle()
        try:
            with ExactMode():
                fd = os.open(path, flags & _OPEN_FLAGS | os.O_CREAT | os.O_EXCL | _ALWAYS, mode & 0o7777)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            fd = self._opened(path, flags)
        try:
            entry = self._entry(node, name)
        except OSError:
            os.close(fd)
            raise
        (number,) = struct.unpack_from("=Q", entry)
        self._files[handle] = fd, number
        return entry + fuse.OPEN_OUT.pack(handle, 0, 0)

    def _descriptor(self, handle: int) -> int:
        if handle not in self._files:
            raise OSError(errno.EBADF, "")
        return self._files[handle][0]

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(body)
        return os.pread(self._descriptor(handle), min(size, fuse.MAX_IO), offset)

    def _write(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = fuse.WRITE_IN.unpack_from(body)
        data = body[fuse.WRITE_IN.size :]
        if size != len(data):
            raise OSError(errno.EINVAL, "")
        return fuse.WRITE_OUT.pack(os.pwrite(self._descriptor(handle), data, offset), 0)

    def _fsync(self, node: int, body: bytes) -> bytes:
        handle, flags, _ = fuse.HANDLE_IN.unpack_from(body)
        (os.fdatasync if flags & 1 else os.fsync)(self._descriptor(handle))
        return b""

    def _release(self, node: int, body: bytes) -> bytes:
        handle, *_ = fuse.HANDLE_IN.unpack_from(body)
        os.close(self._descriptor(handle))
        del self._files[handle]
        return b""

    # --- directories

    def _opendir(self, node: int, body: bytes) -> bytes:
        handle = self._handle()
        self._listings[handle] = Listing(self._nodes.path(node), self._numbers)
        return fuse.OPEN_OUT.pack(handle, 0, 0)

    def _listing(self, handle: int) -> Listing:
        if handle not in self._listings:
            raise OSError(errno.EBADF, "")
        return self._listings[handle]

    def _readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(body)
        return self._listing(handle).read(offset, min(size, fuse.MAX_IO))

    def _readdirplus(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(body)
        return self._listing(handle).read(offset, min(size, fuse.MAX_IO), lambda name: self._looked_at(node, name))

    def _looked_at(self, node: int, name: bytes) -> bytes:
        """Of itself and its parent, and of what has just gone, the kernel is told the name and no more."""
        try:
            return self._entry(node, checked(name))
        except (OSError, ValueError):
            return bytes(fuse.ENTRY_SIZE)

    def _releasedir(self, node: int, body: bytes) -> bytes:
        handle, *_ = fuse.HANDLE_IN.unpack_from(body)
        self._listing(handle).close()
        del self._listings[handle]
        return b""
