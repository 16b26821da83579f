"""Bytes that are no requests, the agent's part of a session, and what the host agrees with its kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shims.agent.mounts import fuse
from shims.agent.mounts.mounts import MAX_MOUNTS, MAX_WAITING, Mounts
from tests.unit.examples import examples
from tests.unit.shims.agent.fuse_kernel import Kernel, entries

# --- what is no request


@pytest.mark.parametrize("data", [b"", b"x" * 39, bytes(40), bytes(fuse.MAX_REQUEST + 1), b"\x28" + bytes(40)])
def test_no_requests(kernel: Kernel, data: bytes) -> None:
    with pytest.raises(ValueError):
        kernel.server.take(data)


@pytest.mark.parametrize("operation", [7, 21, 22, fuse.INIT, 31, fuse.DESTROY, 45, 4096, 2**32 - 1])
def test_what_is_not_served(kernel: Kernel, operation: int) -> None:
    assert kernel.ask(operation, body=bytes(64)) == b"" and kernel.refused == errno.ENOSYS


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=examples(400),
)
@given(
    st.sampled_from(sorted(fuse.FORWARDED)),
    st.sampled_from([0, 1, 2, 3, 2**64 - 1]),
    st.one_of(st.binary(max_size=120), st.binary(min_size=16, max_size=16).map(lambda head: head + b"x\0y\0")),
)
@example(fuse.BATCH_FORGET, 0, fuse.BATCH_FORGET_IN.pack(2**32 - 1, 0) + fuse.FORGET_ONE.pack(2, 2**64 - 1))
@example(fuse.SETATTR, 2, b"\xff" * fuse.SETATTR_IN.size)
def test_any_bytes_are_answered(kernel: Kernel, operation: int, node: int, body: bytes) -> None:
    """With a reply or a refusal, never a failure of the agent; and nothing beside the root is touched."""
    kernel.look("x")
    kernel.ask(operation, node, body)
    assert entries(kernel.root.parent) == ["root"]


# --- the glue


def glue(root: Path) -> tuple[Mounts, Any, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    session = SimpleNamespace(line=SimpleNamespace(has_room=True), send=said.append)
    agent: Any = SimpleNamespace(session=session)
    return Mounts(agent, os.fsencode(root)), session, said


def request(unique: int = 2, operation: int = fuse.STATFS) -> bytes:
    return fuse.HEADER_IN.pack(fuse.HEADER_IN.size, operation, unique, fuse.ROOT_ID, 0, 0, 0, 0, 0)


def test_requests_wait_while_the_line_is_full(tmp_path: Path) -> None:
    mounts, session, said = glue(tmp_path)
    mounts.take({"type": "fuse", "mount": 1, "data": request()})
    assert said == [], "nothing is mounted"
    mounts.take({"type": "mount", "mount": 1})
    session.line.has_room = False
    for number in range(MAX_WAITING):
        mounts.take({"type": "fuse", "mount": 1, "data": request(2 * number + 2)})
    assert said == []
    with pytest.raises(ValueError):
        mounts.take({"type": "fuse", "mount": 1, "data": request()})
    session.line.has_room = True
    mounts.go_on()
    assert [fuse.answered(message["data"]) for message in said] == [2 * number + 2 for number in range(MAX_WAITING)]
    assert {(message["type"], message["mount"]) for message in said} == {("fuse", 1)}


def test_mounts_end(tmp_path: Path) -> None:
    mounts, session, said = glue(tmp_path)
    for number in range(1, MAX_MOUNTS + 1):
        mounts.take({"type": "mount", "mount": number})
    for number in (1, MAX_MOUNTS + 1):
        with pytest.raises(ValueError):
            mounts.take({"type": "mount", "mount": number})
    session.line.has_room = False
    mounts.take({"type": "fuse", "mount": 1, "data": request()})
    mounts.take({"type": "unmount", "mount": 1})
    session.line.has_room = True
    mounts.go_on()
    assert said == [], "what waited for it is void"
    mounts.close()
    mounts.take({"type": "fuse", "mount": 2, "data": request()})
    assert said == []


# --- what the host agrees with its kernel, and takes for replies


def test_agreeing() -> None:
    offered = fuse.INIT_IN.pack(7, 45, 131072, 2**32 - 1)
    reply = fuse.agreed(2, offered, 4096)
    assert reply is not None and fuse.answered(reply) == 2 and len(reply) == 16 + 64
    values = fuse.INIT_OUT.unpack(reply[16:])
    assert values[:3] == (7, 31, 131072) and values[6] == fuse.MAX_IO and values[8] == 16
    writeback, no_opens = 1 << 16, 1 << 17
    assert values[3] & (writeback | no_opens) == 0
    assert fuse.INIT_OUT.unpack((fuse.agreed(2, fuse.INIT_IN.pack(7, 31, 0, 0), 65536) or b"")[16:])[8] == 1
    for other in (fuse.INIT_IN.pack(8, 0, 0, 0), fuse.INIT_IN.pack(7, 30, 0, 0), b"", offered[:15]):
        assert fuse.agreed(2, other, 4096) is None


@pytest.mark.parametrize(
    ("data", "unique"),
    [
        (fuse.reply(6), 6),
        (fuse.reply(6, b"data"), 6),
        (fuse.refusal(6, errno.ENOENT), 6),
        (fuse.refusal(6, 511), 6),
        (fuse.refusal(6, 512), 0),
        (fuse.HEADER_OUT.pack(16, 1, 6), 0),
        (fuse.HEADER_OUT.pack(17, -2, 6) + b"x", 0),
        (fuse.HEADER_OUT.pack(17, 0, 6), 0),
        (fuse.HEADER_OUT.pack(16, 0, 6) + b"x", 0),
        (fuse.reply(6, bytes(fuse.MAX_REQUEST)), 0),
        (b"", 0),
        (bytes(15), 0),
    ],
)
def test_replies(data: bytes, unique: int) -> None:
    assert fuse.answered(data) == unique
