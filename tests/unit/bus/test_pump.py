"""Pumps on sockets of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import zmq

from bus.pump import LARGE_BYTES, ForwardingPump, Pump

Ends = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two sockets that are connected."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://pump")
        other.connect("inproc://pump")
        yield one, other


async def received(kind: type[Pump], ends: Ends, *messages: list[bytes]) -> list[list[bytes]]:
    """What a pump gives of messages that another has sent."""
    got: list[list[bytes]] = []
    all_here = asyncio.Event()

    def take(frames: list[bytes]) -> None:
        got.append(frames)
        if len(got) == len(messages):
            all_here.set()

    pumps = Pump(ends[0], lambda frames: None), kind(ends[1], take)
    try:
        for frames in messages:
            pumps[0].send(frames)
        await asyncio.wait_for(all_here.wait(), 10)
    finally:
        for pump in pumps:
            pump.close()
    return got


async def test_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    messages = [[b"topic/", b"head", b"body"], [b"alone"], [b"", b""], [b"x" * LARGE_BYTES, b"y" * LARGE_BYTES]]
    assert await received(Pump, ends, *messages) == messages


async def test_what_is_large_is_not_copied_on_its_way(ends: Ends) -> None:
    large = bytes(range(256)) * (LARGE_BYTES // 256)
    (small_one, large_one) = await received(ForwardingPump, ends, [b"head", large[:-1]], [b"head", large])
    assert small_one == [b"head", large[:-1]]
    head, body = large_one
    assert (head, len(body), bytes(body)) == (b"head", len(large), large)
    assert isinstance(body, zmq.Frame)


async def test_what_is_large_can_be_sent_on(ends: Ends) -> None:
    large = b"z" * LARGE_BYTES
    (frames,) = await received(ForwardingPump, ends, [b"head", large])
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://on")
        other.connect("inproc://on")
        assert await received(Pump, (one, other), frames) == [[b"head", large]]
