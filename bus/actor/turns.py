"""Requests of remote clients that wait for their turn at one actor. Pure: the time is given.

A client with a key may have thousands of requests under way, and each may be worth milliseconds or megabytes. So they
are begun one by one, each key in its turn, with the loop of the actor in between: whoever else asks, the control lane
among them, waits for one of them at most. And a key whose answers have been large waits until it may have more:
libzmq bounds its queues by messages only, and here nobody sees how fast the client reads.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

from bus.broker.routing import KEY_SENDER

BURST_BYTES = 8 * 1024 * 1024
"""Of answers to one key, before it has to wait: the answers to others queue behind them."""
RATE_BYTES = 32 * 1024 * 1024
"""Of answers to one key in a second; broker and gateway pass on more, also on a slow machine."""

T = TypeVar("T")


def key_of(msg_id: str) -> str:
    """Name of the key on whose behalf a request is made, by its id (`bus.gateway.relay`); empty if it is none's."""
    if not msg_id.startswith(KEY_SENDER):
        return ""
    return msg_id[len(KEY_SENDER) :].partition(":")[0]


class _Waiting(NamedTuple, Generic[T]):
    request: T
    expires_s: float


class Turns(Generic[T]):
    """See the module."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[_Waiting[T]]] = OrderedDict()
        """By key; whose turn is next comes first."""
        self._owed: dict[str, tuple[float, float]] = {}
        """By key: bytes of answers that are too much now, and when that was reckoned."""
        self._size = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return self._size

    def add(self, key: str, request: T, expires_s: float) -> None:
        """One more; at `expires_s` its asker will have given up."""
        self._waiting.setdefault(key, deque()).append(_Waiting(request, expires_s))
        self._size += 1

    def answered(self, key: str, size_bytes: int, now_s: float) -> None:
        """A key was answered with so much."""
        self._owed[key] = (self._owes(key, now_s) + size_bytes, now_s)
        if len(self._owed) > 2 * len(self._waiting) + 16:
            self._owed = {other: owed for other, owed in self._owed.items() if self._owes(other, now_s)}

    def take(self, now_s: float) -> T | None:
        """The next request; None if none may begin now. Those whose askers have given up are passed over."""
        for key in tuple(self._waiting):
            if self._owes(key, now_s) > BURST_BYTES:
                continue
            queue = self._waiting[key]
            found: T | None = None
            while queue and found is None:
                one = queue.popleft()
                self._size -= 1
                found = one.request if one.expires_s > now_s else None
            if queue:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            if found is not None:
                return found
        return None

    def pause_s(self, now_s: float) -> float:
        """How long it takes until one may begin; 0 if one may now."""
        too_much = min((self._owes(key, now_s) for key in self._waiting), default=0.0) - BURST_BYTES
        return max(0.0, too_much / RATE_BYTES)

    def _owes(self, key: str, now_s: float) -> float:
        size, then_s = self._owed.get(key, (0.0, now_s))
        return max(0.0, size - (now_s - then_s) * RATE_BYTES)
