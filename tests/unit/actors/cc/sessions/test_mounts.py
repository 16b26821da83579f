"""What stands between the kernel and a guest that is mounted, with a socket in the kernel's place."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import socket
from typing import Any

import pytest

from actors.cc.inputs import MountLost
from actors.cc.protocol.frames import BeginMount, EndMount, Fuse
from actors.cc.sessions.mounts import LONGEST_S, MAX_UNDER_WAY, SILENT_S, Mounts
from shims.agent.mounts import fuse

KEY = ("minimega", "u1")
LIES = "the agent has sent what is no reply to any request"


class Session:
    """A line to a guest; also the actor."""

    def __init__(self, least: int = 0) -> None:
        """`least` is the lowest number that the kernel's end may have."""
        self.key = KEY
        self.has_room = True
        self.sent: list[Any] = []
        self.lost: list[str] = []
        self.spawned: list[str] = []
        self.server = self
        session: Any = self
        self.mounts = Mounts(session)
        self.kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.kernel.setblocking(False)
        with device:
            self.device = fcntl.fcntl(device, fcntl.F_DUPFD_CLOEXEC, least)
        os.set_blocking(self.device, False)
        self.mounts.begin(self.device, "source")

    def send(self, frame: Any) -> None:
        """To the guest."""
        self.sent.append(frame)

    def feed(self, inp: Any) -> None:
        """To the step."""
        assert isinstance(inp, MountLost) and inp.key == KEY
        self.lost.append(inp.reason)

    def spawn(self, work: Any, *, name: str) -> None:
        """The unmounting, which is not for here."""
        work.close()
        self.spawned.append(name)

    # --- the kernel

    def ask(self, unique: int, operation: int = fuse.STATFS, body: bytes = b"") -> bytes:
        """A request; as it is sent."""
        header = fuse.HEADER_IN.pack(fuse.HEADER_IN.size + len(body), operation, unique, 1, 0, 0, 0, 0, 0)
        self.kernel.send(header + body)
        return header + body

    def told(self) -> list[bytes]:
        """Replies."""
        found: list[bytes] = []
        while True:
            try:
                data = self.kernel.recv(fuse.MAX_REQUEST)
            except BlockingIOError:
                return found
            if not data:
                return found
            found.append(data)

    def asked(self) -> list[bytes]:
        """Requests that went to the guest."""
        return [frame.data for frame in self.sent if isinstance(frame, Fuse)]

    def say(self, data: bytes, mount: int = 1) -> None:
        """The guest replies."""
        self.mounts.take(Fuse(mount=mount, data=data))


@pytest.fixture
async def session() -> Any:
    """One mount."""
    session = Session()
    yield session
    session.mounts.end("source")
    session.kernel.close()
    with pytest.raises(OSError):
        os.fstat(session.device)


async def turn(times: int = 30) -> None:
    """Let the loop see what there is."""
    for _ in range(times):
        await asyncio.sleep(0)


async def test_requests_go_out_and_replies_come_back(session: Session) -> None:
    assert session.sent == [BeginMount(mount=1)]
    request = session.ask(2, fuse.LOOKUP, b"x\0")
    forget = session.ask(0, fuse.FORGET, fuse.FORGET_IN.pack(1))
    await turn()
    assert session.asked() == [request, forget]
    session.say(fuse.refusal(2, errno.ENOENT))
    assert session.told() == [fuse.refusal(2, errno.ENOENT)] and session.lost == []


async def test_what_guests_have_no_say_in(session: Session) -> None:
    session.ask(2, fuse.INIT, fuse.INIT_IN.pack(7, 40, 4096, 2**32 - 1))
    session.ask(4, fuse.DESTROY)
    for unique, operation in ((6, fuse.INTERRUPT), (8, 22), (10, 2**32 - 1)):
        session.ask(unique, operation)
    await turn()
    first, *others = session.told()
    assert fuse.answered(first) == 2
    assert others == [fuse.refusal(unique, errno.ENOSYS) for unique in (6, 8, 10)]
    assert session.asked() == []


async def test_a_kernel_of_another_time(session: Session) -> None:
    session.ask(2, fuse.INIT, fuse.INIT_IN.pack(6, 1, 0, 0))
    await turn()
    assert session.lost == ["this kernel speaks another version of FUSE"]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", fuse.reply(4), fuse.reply(0), fuse.reply(2)[:15], fuse.refusal(2, 600), fuse.reply(2, bytes(70_000))],
)
async def test_who_lies_is_unmounted(session: Session, data: bytes) -> None:
    session.ask(2)
    await turn()
    session.say(data)
    assert session.lost == [LIES] and session.spawned == ["unmount source"]
    assert session.told() == [] and session.kernel.recv(1) == b"", "whoever waits hears that it is gone"
    assert session.sent[-1] == EndMount(mount=1)
    session.say(fuse.reply(2))
    assert session.lost == [LIES]


async def test_a_reply_counts_once(session: Session) -> None:
    session.ask(2)
    await turn()
    session.say(fuse.reply(2))
    session.say(fuse.reply(2))
    assert session.lost == [LIES]


async def test_replies_of_an_earlier_mount_are_nothing(session: Session) -> None:
    session.say(fuse.reply(2), mount=7)
    assert session.lost == []
    session.mounts.end("source")
    session.say(fuse.reply(2))
    assert session.lost == []


async def test_a_bounded_number_is_under_way(session: Session) -> None:
    for number in range(MAX_UNDER_WAY + 5):
        session.ask(2 * number + 2)
    await turn()
    assert len(session.asked()) == MAX_UNDER_WAY
    for number in range(5):
        session.say(fuse.reply(2 * number + 2))
    await turn()
    assert len(session.asked()) == MAX_UNDER_WAY + 5


async def test_a_guest_that_does_not_read_is_sent_nothing(session: Session) -> None:
    session.has_room = False
    session.ask(2)
    await turn()
    assert session.asked() == []
    session.has_room = True
    session.mounts.flow()
    await turn()
    assert len(session.asked()) == 1


async def test_silence_ends_it_only_while_somebody_waits(session: Session) -> None:
    now_s = asyncio.get_running_loop().time()
    session.mounts.tick(now_s + 10_000)
    assert session.lost == [], "nobody asks for anything"
    session.ask(2)
    await turn()
    session.mounts.tick(now_s)
    session.mounts.tick(now_s + SILENT_S - 1)
    assert session.lost == []
    session.mounts.tick(now_s + SILENT_S + 1)
    assert session.lost == ["the guest did not answer for 30 seconds"]
    assert session.kernel.recv(1) == b""


async def test_it_waits_for_a_slow_guest_and_not_for_ever(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answering others keeps a request from being answered for a while."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    session.ask(2)
    await turn()
    for number in range(1, int(LONGEST_S // 20) + 2):
        assert session.lost == []
        session.ask(2 + 2 * number)
        await turn()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda at=now_s + 20.0 * number: at)
            session.say(fuse.reply(2 + 2 * number))
            session.mounts.tick(loop.time())
    assert session.lost == ["the guest left a request unanswered for 300 seconds"]


async def test_requests_that_cannot_even_be_sent_do_not_wait_for_ever(session: Session) -> None:
    session.has_room = False
    session.mounts.flow()
    now_s = asyncio.get_running_loop().time()
    session.mounts.tick(now_s + 1000)
    assert session.lost == []
    session.ask(2)
    session.mounts.tick(now_s + 1001)
    session.mounts.tick(now_s + 1001 + SILENT_S + 1)
    assert session.lost == ["the guest did not answer for 30 seconds"] and session.asked() == []


async def test_an_actor_with_thousands_of_descriptors() -> None:
    """Those from 1,024 on are too many for select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        session = Session(least=1500)
        session.has_room = False
        session.mounts.flow()
        session.mounts.tick(asyncio.get_running_loop().time())
        session.mounts.end("source")
        session.kernel.close()
        assert session.lost == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_line_that_breaks(session: Session) -> None:
    session.ask(2)
    await turn()
    session.mounts.close("the VM has ended")
    session.mounts.close("once more")
    assert session.lost == ["the VM has ended"]


@pytest.mark.parametrize(
    ("number", "lost"),
    [
        (errno.ENODEV, ["it was unmounted"]),
        (errno.ENOENT, []),
        (errno.EINVAL, ["the agent has replied what the kernel does not take: Invalid argument"]),
    ],
)
async def test_what_the_kernel_says_to_a_reply(
    session: Session, monkeypatch: pytest.MonkeyPatch, number: int, lost: list[str]
) -> None:
    session.ask(2)
    await turn()

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        session.say(fuse.reply(2))
    assert session.lost == lost
