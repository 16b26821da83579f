"""The cloner: a small process from which containers are cloned, on behalf of the warden.

What a clone costs, and again what the exec of its init costs, grows with the memory of the process it is made from:
this one holds an interpreter, ctypes and a few functions, where the warden holds records of a thousand containers. And
after a clone every page that its parent writes to costs a fault; here they are few. The warden stays the parent of the
containers (CLONE_PARENT), and this process knows nothing of them.

It reads packets: `F` and the compiled system call filter, or `C` and a marshalled script, which comes with the two
pipes of the new container (and with a third descriptor that holds the script, if it is too long for a packet); `U`
likewise, for a container whose network namespace belongs to the guests' user namespace (see `net_maker`). It answers
each script with the pid, or 0 and the errno. It ends with the warden.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import gc
import marshal
import os
import struct
import sys

from shims.container.net_maker import NetMaker
from shims.container.setup.build import USER_NAMESPACE, build
from shims.container.setup.init_program import check_init
from shims.container.setup.perform import c_functions, perform, plain
from shims.container.setup.preinit import run_preinit
from shims.linux import process
from shims.linux.seccomp_program import SeccompProgram

# Not that of `typing`, which with all that it loads makes two of the five MiB that each clone would have to copy the
# tables of, and each exec to take apart. So in all that this process loads.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


FILTER = b"F"
SCRIPT = b"C"
GUARDED = b"U"
ANSWER = struct.Struct("ii")
"""pid and errno."""
MAX_PACKET = 128 * 1024
"""Bytes; more does not fit into the default buffer of a socket together with its bookkeeping."""

NAMESPACES = process.CLONE_NEWNS | process.CLONE_NEWPID | process.CLONE_NEWIPC | process.CLONE_NEWUTS
"""And that of the network."""

NICE = 10
"""Set-ups yield to the actors, which would otherwise answer late while hundreds of containers are made."""
_SIGKILL = 9
_WARM_UP_ROUNDS = 20
_RIGHTS_SPACE = _socket.CMSG_SPACE(12)  # three descriptors


def main(fd: int) -> None:
    """Serve the warden at the other end of `fd` until it goes away."""
    process.prctl(process.PR_SET_PDEATHSIG, _SIGKILL)
    process.set_name(b"mb-cloner")
    process.default_signals()
    process.leave_session_keyring()  # it holds the keys of whoever has started us
    os.nice(NICE)
    maker = NetMaker()
    calls: dict[str, Callable[..., int]] = {
        **c_functions(),
        "check_init": check_init,
        "run_preinit": run_preinit,
        "enter_user_namespace": maker.enter,
    }
    sock = _socket.socket(fileno=_keep_alone(fd))
    buffer = memoryview(bytearray(MAX_PACKET))
    _warm_up(calls)
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        size, ancillary, _, _ = sock.recvmsg_into([buffer], _RIGHTS_SPACE, _socket.MSG_CMSG_CLOEXEC)
        if not size:
            return
        data = bytes(buffer[:size])
        if data[:1] == FILTER:
            calls["install_filter"] = SeccompProgram(data[1:]).install
            continue
        fds = _descriptors(ancillary)
        if len(fds) < (2 if data[1:] else 3):  # there was no room for all of them (unix(7), MSG_CTRUNC)
            sock.send(ANSWER.pack(0, errno.EMFILE))
            for one in fds:
                os.close(one)
            continue
        network = -1
        try:
            if data[:1] == GUARDED:
                network = maker.take()
            pid = process.clone(NAMESPACES if network >= 0 else NAMESPACES | process.CLONE_NEWNET, parent=True)
        except OSError as error:
            sock.send(ANSWER.pack(0, error.errno or 0))
        else:
            if pid == 0:
                build(calls, data[1:] or _read_all(fds[2]), fds[0], fds[1], network)
            sock.send(ANSWER.pack(pid, 0))
        for one in fds if network < 0 else (*fds, network):
            os.close(one)


def _warm_up(calls: Mapping[str, Callable[..., int]]) -> None:
    """Run what every container runs until the interpreter has specialised it.

    It does that by writing into the code: once here, instead of once in each child, where each page costs a fault.
    """
    old = os.umask(0)
    for _ in range(_WARM_UP_ROUNDS):
        check_init(os.fsencode(sys.executable))
        perform((plain("warm-up", "umask", (old,)), plain("warm-up", "close", (-1,), (errno.EBADF,))), calls)


def _keep_alone(fd: int) -> int:
    """Close everything but the standard streams and `fd`, and keep the numbers that a new container uses occupied."""
    fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, USER_NAMESPACE + 1)
    close_range = c_functions()["syscall"]
    close_range(process.SYS_CLOSE_RANGE, 3, fd - 1, 0)
    close_range(process.SYS_CLOSE_RANGE, fd + 1, -1, 0)
    while os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) < USER_NAMESPACE:
        pass
    return fd


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    data = ancillary[0][2] if ancillary else b""
    return struct.unpack(f"{len(data) // 4}i", data)


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def dump_script(script: tuple[Any, ...]) -> bytes:
    """A script in the form that `build` reads: the same interpreter on both sides, and no other peer."""
    return marshal.dumps(script)
