"""What a step actor remembers besides its own state: answers given, asks still open. Part of every snapshot.

It is rebuilt on replay from the effects that `step` gives again, so nothing of it is journaled by itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bus import codec
from bus.actor.step import Ask, Effect, Fail, Reply
from bus.messages.base import Ack, Failure, Message

KEEP_REPLIES = 10_000
KEEP_REPLIES_S = 600.0
KEEP_BYTES = 8 * 1024 * 1024
"""Of all of them, encoded; a report about 20,000 VMs has a megabyte, and several times that as objects."""
KEEP_AT_LEAST = 1_000
"""However old they look: the host's clock may have been set, and what is forgotten would be done again for a repeat."""


class Remembered(msgspec.Struct):
    """An answer that a repeat of the request gets again."""

    time_s: float
    namespace: str
    body: Any
    size_bytes: int = 0


class Memory:
    """Answers by request id, oldest first, and open asks by tag."""

    def __init__(self) -> None:
        self.replies: dict[str, Remembered] = {}
        self.open_requests: dict[str, str] = {}
        """Requests taken and not yet answered: id to namespace."""
        self.open_asks: dict[str, Ask] = {}
        self._size_bytes = 0

    def taken(self, msg_id: str, namespace: str) -> None:
        """A request has become an input."""
        self.open_requests[msg_id] = namespace

    def closed(self, tag: str) -> None:
        """An ask has come to its end."""
        self.open_asks.pop(tag, None)

    def note(self, effects: list[Effect], time_s: float, origin: str) -> None:
        """Take in the effects of one step."""
        for effect in effects:
            match effect:
                case Reply(msg_id=msg_id, body=body):
                    self._answered(msg_id, body, time_s)
                case Fail(msg_id=msg_id, code=code, message=message):
                    self._answered(msg_id, Failure(code=code, message=message, origin=origin), time_s)
                case Ask():
                    self.open_asks[effect.tag] = effect
                case _:
                    pass

    def _answered(self, msg_id: str, body: Message, time_s: float) -> None:
        namespace = self.open_requests.pop(msg_id, None)
        if namespace is None:
            raise ValueError(f"request {msg_id} is answered twice, or was never taken")
        self._remember(msg_id, Remembered(time_s=time_s, namespace=namespace, body=body))
        while len(self.replies) > KEEP_REPLIES or (self._size_bytes > KEEP_BYTES and len(self.replies) > 1):
            self._forget(next(iter(self.replies)))

    def _remember(self, msg_id: str, kept: Remembered) -> None:
        if not isinstance(kept.body, Ack):
            kept.size_bytes = len(codec.encode(kept.body))
        self._size_bytes += kept.size_bytes
        self.replies[msg_id] = kept

    def _forget(self, msg_id: str) -> None:
        self._size_bytes -= self.replies.pop(msg_id).size_bytes

    def expire(self, now_s: float) -> None:
        """Forget answers older than ten minutes, but for the last `KEEP_AT_LEAST`."""
        for msg_id in list(self.replies)[:-KEEP_AT_LEAST]:
            if self.replies[msg_id].time_s < now_s - KEEP_REPLIES_S:
                self._forget(msg_id)

    def to_builtins(self) -> dict[str, Any]:
        """For the snapshot."""
        return {
            "replies": [
                [msg_id, kept.time_s, kept.namespace, codec.to_builtins(kept.body)]
                for msg_id, kept in self.replies.items()
            ],
            "requests": self.open_requests,
            "asks": [
                [ask.tag, ask.to, codec.to_builtins(ask.body), ask.timeout_s, ask.namespace, ask.cause]
                for ask in self.open_asks.values()
            ],
        }

    @classmethod
    def from_builtins(cls, value: dict[str, Any]) -> Memory:
        """From a snapshot; raises BusError if it is not of this version."""
        memory = cls()
        for msg_id, time_s, namespace, body in value["replies"]:
            memory._remember(msg_id, Remembered(time_s=time_s, namespace=namespace, body=codec.from_builtins(body)))
        memory.open_requests = dict(value["requests"])
        for tag, to, body, timeout_s, namespace, cause in value["asks"]:
            request: Any = codec.from_builtins(body)
            memory.open_asks[tag] = Ask(
                tag=tag, to=to, body=request, timeout_s=timeout_s, namespace=namespace, cause=cause
            )
        return memory
