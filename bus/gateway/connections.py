"""The connections of remote clients, without any socket: how many there may be, and whose each is. Pure.

libzmq accepts by itself and tells afterwards; a descriptor names a connection from then until it is closed. Whose it
is shows with the first thing that it says.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec

MAX_CONNECTIONS = 1_000
MAX_OF_KEY = 100
WINDOW_S = 10.0
MAX_ACCEPTED = 300
"""New connections from one address within the window; a client that works needs two, one that is refused tries on."""
MAX_ADDRESSES = 10_000
BANISHED_S = 5.0
"""So long nobody comes in with a key whose client did what no honest one does: it would do it again at once."""
SILENT_S = 60.0
"""A connection that has said nothing for so long is nobody's."""


class Connection(msgspec.Struct):
    """One accepted connection; times on the monotonic clock."""

    fd: int
    peer: str
    """Address and port of the other side."""
    door: int
    """The port that it came to."""
    accepted_s: float
    public: str = ""
    """Key of its client; empty while it has said nothing."""
    identity: bytes = b""
    """Of a connection for requests: how the socket calls it."""
    offered_bytes: int = 0
    """Of answers."""
    cut: bool = False
    """It is being closed."""


class Connections:
    """See the module."""

    def __init__(self) -> None:
        self.by_fd: dict[int, Connection] = {}
        self.by_identity: dict[bytes, Connection] = {}
        self._of_key: Counter[str] = Counter()
        self._accepted: dict[str, deque[float]] = {}
        self._silent: dict[int, None] = {}
        """Those that have said nothing and are not being closed, the oldest first."""
        self._being_cut = 0
        self._banished: dict[str, float] = {}
        """Keys, and until when."""

    def accepted(self, fd: int, address: str, port: int, now_s: float, door: int = 0) -> str:
        """There is a new one; gives why it must not stay, or nothing."""
        self.gone(fd)
        self.by_fd[fd] = Connection(fd, f"{address}:{port}", door, now_s)
        self._silent[fd] = None
        recent = self._accepted.setdefault(address, deque())
        while recent and recent[0] <= now_s - WINDOW_S:
            recent.popleft()
        if len(recent) >= MAX_ACCEPTED:
            return f"more than {MAX_ACCEPTED} connections from {address} within {WINDOW_S:g} s"
        recent.append(now_s)
        return ""

    def crowded_out(self) -> int | None:
        """The connection that has to make room if there are too many.

        That is the oldest one that has said nothing, since who opens many and says nothing would else keep out all
        others; and the newest if all have.
        """
        if len(self.by_fd) - self._being_cut <= MAX_CONNECTIONS:
            return None
        return next(iter(self._silent), next(reversed(self.by_fd)))

    def cutting(self, connection: Connection) -> None:
        """It is being closed."""
        connection.cut = True
        self._being_cut += 1
        self._silent.pop(connection.fd, None)

    def spoke(self, fd: int, public: str, identity: bytes = b"") -> str:
        """It has said something, under this key; gives why it must not stay, or nothing."""
        connection = self.by_fd.get(fd)
        if connection is None or connection.public == public:
            return ""
        if connection.public:
            return "a connection has one key"
        connection.public, connection.identity = public, identity
        if identity:
            self.by_identity[identity] = connection
        self._silent.pop(fd, None)
        self._of_key[public] += 1
        return f"the key has {MAX_OF_KEY} connections" if self._of_key[public] > MAX_OF_KEY else ""

    def gone(self, fd: int, door: int | None = None) -> Connection | None:
        """It is closed; gives what it was. Nothing if its number is another port's by now: then this was said late."""
        if door is not None and fd in self.by_fd and self.by_fd[fd].door != door:
            return None
        connection = self.by_fd.pop(fd, None)
        self._silent.pop(fd, None)
        if connection is not None:
            self._being_cut -= connection.cut
            self.by_identity.pop(connection.identity, None)
        if connection is not None and connection.public:
            self._of_key[connection.public] -= 1
            if not self._of_key[connection.public]:
                del self._of_key[connection.public]
        return connection

    def banish(self, public: str, now_s: float) -> None:
        """Let nobody in with this key for a while."""
        self._banished[public] = now_s + BANISHED_S

    def is_banished(self, public: str, now_s: float) -> bool:
        """Whether it has to wait."""
        if now_s < self._banished.get(public, 0.0):
            return True
        self._banished.pop(public, None)
        return False

    def of_keys(self, publics: frozenset[str]) -> list[Connection]:
        """Those of some keys. Silent ones are among them, as they may be theirs; others' come back by themselves."""
        return [one for one in self.by_fd.values() if one.public in publics or not one.public] if publics else []

    def silent(self, now_s: float) -> list[Connection]:
        """Those that have not said anything in time; also forgets addresses that nobody came from lately."""
        for address in [one for one, recent in self._accepted.items() if recent[-1] <= now_s - WINDOW_S]:
            del self._accepted[address]
        while len(self._accepted) > MAX_ADDRESSES:
            del self._accepted[next(iter(self._accepted))]
        return [one for one in self.by_fd.values() if not one.public and now_s - one.accepted_s > SILENT_S]
