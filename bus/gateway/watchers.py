"""What remote clients have subscribed to and what they get of it, without any socket. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from bus.access.keys import Key
from bus.access.rights import narrow
from bus.topics import MAX_TOPIC

MAX_SUBSCRIPTIONS = 10_000
"""Of one connection; the narrowed ones count as what they became."""
MAX_BYTES_OF_KEY = 262144
"""Of all prefixes that the connections of one key hold: libzmq takes some fifty bytes for each, in several places."""
MAX_SYNC = 128
"""Bytes of a topic below `sync/`."""
MAX_TOLD = 100
"""Refused and narrowed prefixes that are remembered of one connection."""
SYNC = "sync/"


class Heard(NamedTuple):
    """What follows from one frame of a subscriber."""

    subscribe: tuple[str, ...] = ()
    """For this connection, from now on."""
    unsubscribe: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    """Nobody had it before: to be subscribed to at the broker."""
    leave: tuple[str, ...] = ()
    """Nobody has it any more."""
    sync: str = ""
    """A topic on which to answer when all that came before is in force."""
    cut: str = ""
    """Why the connection must be closed."""


class Watcher:
    """One connection."""

    def __init__(self, public: str) -> None:
        self.public = public
        """Key of its client."""
        self.size_bytes = 0
        """Of what it asked for."""
        self.asked: dict[str, tuple[str, ...]] = {}
        """Prefix to what it became."""
        self.applied: Counter[str] = Counter()
        self.refused: dict[str, None] = {}
        self.narrowed: dict[str, None] = {}


class Watchers:
    """All connections for events, by descriptor."""

    def __init__(self) -> None:
        self.by_fd: dict[int, Watcher] = {}
        self._upstream: Counter[str] = Counter()
        self._bytes_of_key: Counter[str] = Counter()

    def heard(self, fd: int, key: Key, frame: bytes) -> Heard:
        """A subscription (1, then the prefix) or its end (0, then the prefix)."""
        if frame[:1] not in (b"\x00", b"\x01") or len(frame) > MAX_TOPIC + 1:
            return Heard(cut="it sent something that is no subscription")
        try:
            prefix = frame[1:].decode()
        except UnicodeDecodeError:
            return Heard(cut="it subscribed to something that is no text")
        watcher = self.by_fd.setdefault(fd, Watcher(key.public))
        return self._add(watcher, prefix, key) if frame[0] else self._remove(watcher, prefix)

    def gone(self, fd: int) -> Heard:
        """The connection is closed: what nobody wants any more."""
        watcher = self.by_fd.pop(fd, None)
        if watcher is None:
            return Heard()
        self._count(watcher, -watcher.size_bytes)
        return Heard(leave=self._left(tuple(watcher.applied)))

    def told(self, fd: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which subscriptions of a connection its key may not have, and of which it gets a part."""
        watcher = self.by_fd.get(fd)
        return (tuple(watcher.refused), tuple(watcher.narrowed)) if watcher is not None else ((), ())

    def wanted(self) -> tuple[str, ...]:
        """All that is subscribed to at the broker."""
        return tuple(self._upstream)

    def _add(self, watcher: Watcher, prefix: str, key: Key) -> Heard:
        if prefix in watcher.asked:
            return Heard()
        if prefix.startswith(SYNC):
            if len(prefix.encode()) > MAX_SYNC or not prefix.endswith("/") or prefix.count("/") != 2:
                return Heard(cut="it joined on a topic that is none")
            allowed: tuple[str, ...] = (prefix,)
        else:
            allowed = narrow(prefix, key)
            if len(watcher.refused) < MAX_TOLD and not allowed:
                watcher.refused[prefix] = None
            elif len(watcher.narrowed) < MAX_TOLD and allowed != (prefix,):
                watcher.narrowed[prefix] = None
        if len(watcher.asked) >= MAX_SUBSCRIPTIONS or len(watcher.applied) + len(allowed) > MAX_SUBSCRIPTIONS:
            return Heard(cut=f"it has {MAX_SUBSCRIPTIONS} subscriptions")
        if self._bytes_of_key[key.public] + _size_bytes(prefix) > MAX_BYTES_OF_KEY:
            return Heard(cut=f"its key subscribes to topics of more than {MAX_BYTES_OF_KEY} bytes")
        self._count(watcher, _size_bytes(prefix))
        watcher.asked[prefix] = allowed
        new = tuple(one for one in allowed if not watcher.applied[one])
        watcher.applied.update(allowed)
        if prefix.startswith(SYNC):
            return Heard(subscribe=new, sync=prefix)
        join = tuple(one for one in new if not self._upstream[one])
        self._upstream.update(new)
        return Heard(subscribe=new, join=join)

    def _remove(self, watcher: Watcher, prefix: str) -> Heard:
        if prefix not in watcher.asked:
            return Heard()
        self._count(watcher, -_size_bytes(prefix))
        allowed = watcher.asked.pop(prefix)
        watcher.refused.pop(prefix, None)
        watcher.narrowed.pop(prefix, None)
        old = _taken_from(watcher.applied, allowed)
        return Heard(unsubscribe=old, leave=self._left(old))

    def _count(self, watcher: Watcher, size_bytes: int) -> None:
        watcher.size_bytes += size_bytes
        self._bytes_of_key[watcher.public] += size_bytes
        if not self._bytes_of_key[watcher.public]:
            del self._bytes_of_key[watcher.public]

    def _left(self, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        return _taken_from(self._upstream, tuple(one for one in prefixes if not one.startswith(SYNC)))


def _size_bytes(prefix: str) -> int:
    return len(prefix.encode())


def _taken_from(counts: Counter[str], prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Count each one down; gives those of which none is left."""
    counts.subtract(prefixes)
    gone = tuple(one for one in prefixes if counts[one] <= 0)
    for one in gone:
        del counts[one]
    return gone
