"""The guests' user namespace, and the process in it that makes their network namespaces.

Who has CAP_NET_ADMIN in the host's user namespace may act in every network namespace to which an interface of his
leads (IFLA_TARGET_NETNSID). So guests have their capabilities in a user namespace of their own, which maps every id to
itself. It has to own their network namespaces as well, or they had no rights in those: a process of the cloner is in
it and makes them, each while the container before it is cloned. A set-up begins in one of these and, with all the rest
done with the host's rights, ends by going over to the user namespace. It is one for all: their interfaces lead to the
fabric, never to each other.

That process opens no file and passes no descriptor: without rights on the host it would be refused as soon as guests
have used up what there is of both (fs.file-max, and descriptors under way in sockets, which are counted by user).
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import os
import struct

from shims.container.setup.build import USER_NAMESPACE
from shims.linux import process
from shims.linux.libc import LIBC_HOLDING_LOCK as LIBC

TYPE_CHECKING = False  # see `shims.container.cloner`
if TYPE_CHECKING:
    from typing import NoReturn


PATIENCE_S = 3
"""Making one takes less than a millisecond, on a loaded machine some more; the cloner itself is given up after 10 s."""

_CANNOT = (errno.EACCES, errno.EINVAL, errno.ENOSPC, errno.ENOSYS, errno.EPERM, errno.EUSERS)
"""What a kernel says that has no user namespaces, or allows none; all else is a failure."""

_GO_ON = b"!"
_NUMBER = struct.Struct("i")
_SIGKILL = 9


class NetMaker:
    """Hands out network namespaces; the process is started with the first, and again whenever it has died."""

    def __init__(self) -> None:
        self._sock: _socket.socket | None = None
        self._pid = 0
        self._has_space = False
        """The user namespace is there, as descriptor `USER_NAMESPACE`."""
        self._lack = 0
        """errno of the last attempt to make it."""

    def take(self) -> int:
        """A descriptor of a new network namespace, or -1 where the host has no user namespaces. Raises OSError."""
        number = 0
        for _ in range(2):  # what the first one says may be from long ago
            if self._sock is None and not self._start():
                return -1
            try:
                if not (number := self._answer()):
                    descriptor = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                    self._go_on()
                    return descriptor
            except OSError as error:  # it has said that it is ready, and died
                number = error.errno or errno.EIO
            self._end()
        raise OSError(number, os.strerror(number))

    def enter(self) -> int:
        """Go over to the user namespace, with all capabilities there and none outside; for a set-up at its end.

        Negative, with errno set, where the host has none. Raises OSError if it has and that fails: no guest may run
        with more rights than it was told.
        """
        if not self._has_space:
            ctypes.set_errno(self._lack)
            return -1
        if LIBC.setns(USER_NAMESPACE, process.CLONE_NEWUSER) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "user namespace")
        return 0

    def _start(self) -> bool:
        """Whether there is a user namespace, and the process in it."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _make_for_ever(theirs, join=self._has_space)
        finally:
            theirs.close()
        # By the kernel, not by Python, which would poll before each packet.
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE_S, 0))
        self._sock = ours
        number = self._answer()
        if not number and not self._has_space:
            number = self._adopt_space()
        if number:
            self._end()
            if self._has_space or number not in _CANNOT:
                raise OSError(number, os.strerror(number))
            self._lack = number
            return False
        self._go_on()
        return True

    def _adopt_space(self) -> int:
        """Map every id that this process knows to itself, and keep the namespace; 0 or errno."""
        directory = f"/proc/{self._pid}"
        try:
            for name in ("uid_map", "gid_map"):
                _write(f"{directory}/{name}", identity_map(_read(f"/proc/self/{name}")))
            descriptor = os.open(f"{directory}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(descriptor, USER_NAMESPACE, inheritable=False)
            os.close(descriptor)
        except OSError as error:
            return error.errno or errno.EIO
        self._has_space = True
        return 0

    def _answer(self) -> int:
        """What the process says to be its errno."""
        assert self._sock is not None  # noqa: S101  for the type checker: callers have seen to it
        try:
            data = self._sock.recv(_NUMBER.size)
        except BlockingIOError:
            return errno.ETIMEDOUT
        except OSError as error:
            return error.errno or errno.EIO
        return int(_NUMBER.unpack(data)[0]) if data else errno.EPIPE

    def _go_on(self) -> None:
        """Have it make the next one; that it has died shows then."""
        assert self._sock is not None  # noqa: S101
        try:  # noqa: SIM105  what the cloner loads, every container pays for
            self._sock.send(_GO_ON, _socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def _end(self) -> None:
        """End the process, which may hang or be gone."""
        assert self._sock is not None  # noqa: S101
        self._sock.close()
        self._sock = None
        os.kill(self._pid, _SIGKILL)  # not yet waited for, so the number is its own
        os.waitpid(self._pid, 0)


def identity_map(own: str) -> bytes:
    """What to write for a child namespace that knows the ids of this one, by its own map (user_namespaces(7))."""
    lines = (line.split() for line in own.splitlines())
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in lines).encode()


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)  # the kernel takes a map in one piece, once
    finally:
        os.close(descriptor)


# --- the process


def _make_for_ever(sock: _socket.socket, *, join: bool) -> NoReturn:
    """Be the maker: be in a new network namespace, say so, and wait until whoever wants it has opened it."""
    try:
        fd = sock.fileno()
        LIBC.syscall(process.SYS_CLOSE_RANGE, fd + 1, -1, 0)
        LIBC.syscall(process.SYS_CLOSE_RANGE, USER_NAMESPACE + 1, fd - 1, 0)
        process.set_name(b"mb-netns")
        number = _join() if join else _make_user_namespace()
        process.prctl(process.PR_SET_PDEATHSIG, _SIGKILL)
        while True:
            sock.send(_NUMBER.pack(number), _socket.MSG_NOSIGNAL)
            if number or not sock.recv(len(_GO_ON)):
                os._exit(0)
            number = 0 if LIBC.unshare(process.CLONE_NEWNET) == 0 else ctypes.get_errno()
    finally:
        os._exit(1)


def _join() -> int:
    return 0 if LIBC.setns(USER_NAMESPACE, process.CLONE_NEWUSER) == 0 else ctypes.get_errno()


def _make_user_namespace() -> int:
    """Of what the kernel counts by user, all in it together may have what its maker may: half of the host's."""
    import resource  # only here: the process that clones stays small

    for which in (resource.RLIMIT_SIGPENDING, resource.RLIMIT_MSGQUEUE):
        soft, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(which, (min(soft, hard // 2), hard // 2))
    return 0 if LIBC.unshare(process.CLONE_NEWUSER) == 0 else ctypes.get_errno()
