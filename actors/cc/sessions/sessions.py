"""Who is connected: hellos become sessions, and each guest has at most one."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from actors.cc.inputs import Joined, Left, Offer
from actors.cc.protocol import frames
from actors.cc.server import WINDOW, Server
from actors.cc.sessions.greetings import Greetings
from actors.cc.sessions.lines import Line
from actors.cc.sessions.room import Room
from actors.cc.sessions.session import KEEPALIVE_S, LOST_S, Session
from actors.cc.table import Facts, Guest, Key
from bus.gateway.throttle import Throttle
from shims.agent.line.wire import WireError

HELLO_S: Final = 10.0
"""For an agent to say who it is."""
RETURN_S: Final = 10.0
"""For agents to come back after a restart of this actor, before they count as not connected."""
RETRY_S: Final = 2.0
STRANGER_S: Final = 10.0
GREETINGS: Final = 20.0
"""Sessions that one guest may begin at once."""
REFUSALS: Final = 20
REFUSALS_S: Final = 10.0
"""So many log lines about refused agents within so long; the rest is counted."""
BREAK_S: Final = 5.0
"""For an agent whose line broke, before nobody waits for it any more."""


class Sessions:
    """See the module."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._by_key: dict[Key, Session] = {}
        self._by_line: dict[Line, Session] = {}
        self.lines: set[Line] = set()
        self.name = secrets.token_hex(8)
        """Of this start of the server."""
        self.room = Room(server.responses)
        self._broken: dict[Key, float] = {}
        """When lines broke of guests that live."""
        self._greetings: dict[tuple[Key, bool], Greetings] = {}
        """By guest, and whether over a line of its own."""
        self._refusals = Throttle(REFUSALS, REFUSALS_S)
        self._started_s = asyncio.get_running_loop().time()
        self._returned = False

    def get(self, key: Key) -> Session | None:
        """The session of a guest, once the agent has told what it knows."""
        session = self._by_key.get(key)
        return session if session is not None and session.synced else None

    def of(self, namespace: str) -> list[Session]:
        """All of a namespace."""
        return [session for key, session in self._by_key.items() if key[0] == namespace and session.synced]

    def returning(self, namespace: str) -> frozenset[str]:
        """UUIDs of guests whose line broke a moment ago."""
        return frozenset(uuid for own, uuid in self._broken if own == namespace)

    # --- lines

    def opened(self, line: Line) -> None:
        """A line; of a serial one the agent does not notice that it was opened."""
        self.lines.add(line)
        if line.dialled:
            line.greet(newly_opened=True)

    def closed(self, line: Line) -> None:
        """It is gone."""
        self.lines.discard(line)
        self._end(line, line.reason)

    def restarted(self, line: Line) -> None:
        """The agent begins a new session."""
        self._end(line, "the agent has begun a new session")

    def pressed(self, line: Line) -> None:
        """There is none for a while."""
        session = self._by_line.get(line)
        if session is not None:
            session.tunnels.flow()

    def writable(self, line: Line) -> None:
        """There is room again."""
        session = self._by_line.get(line)
        if session is not None:
            session.writable()

    def took(self, line: Line, frame: frames.AgentFrame) -> None:
        """A frame has come; raises WireError."""
        if isinstance(frame, frames.Hello):
            self._hello(line, frame)
            return
        session = self._by_line.get(line)
        if session is not None:
            session.take(frame)
        elif not line.dialled:  # there it may be what was on its way before
            raise WireError("nothing is said before `hello`")

    def _end(self, line: Line, reason: str, *, replaced: bool = False) -> None:
        session = self._by_line.pop(line, None)
        if session is None:
            return
        line.key = None
        if self._by_key.get(session.key) is session:
            del self._by_key[session.key]
        guest = session.guest()
        if session.synced and guest is not None and guest.vm.live:
            self._broken[session.key] = line.loop.time()
        session.end(reason, replaced=replaced)

    # --- hello

    def _hello(self, line: Line, hello: frames.Hello) -> None:
        self._end(line, "the agent has begun a new session")
        if not line.may_greet():
            raise WireError("it begins sessions all the time")
        if frames.VERSION not in hello.versions:
            sentence = f"this server speaks version {frames.VERSION} of the protocol, and the agent does not"
            self._refuse(line, hello, sentence, 60.0)
            return
        guest = self._whose(line, hello)
        if guest is None:
            self._refuse(line, hello, f"no VM of this namespace with a backchannel has UUID {hello.uuid}", STRANGER_S)
            return
        key = guest.vm.key
        if not (line.dialled or self._may_greet(key, line)):
            raise WireError("it begins sessions all the time")
        other = self._by_key.get(key)
        if other is not None and not self._gives_way(other, line, hello):
            self._refuse(line, hello, "another agent is connected for this VM", RETRY_S)
            return
        if other is not None:
            old = other.line
            self._end(old, "the agent has come back on another line")
            old.close("replaced")
        facts = Facts(
            hostname=hello.hostname,
            arch=hello.arch,
            os=hello.os,
            release=hello.release,
            ips=hello.ips,
            macs=hello.macs,
        )
        self._server.feed(Joined(key=key, boot=hello.boot, agent=hello.agent, facts=facts))
        ledger = self._server.table.namespaces[key[0]].name
        session = Session(self._server, line, key, hello, ledger, self.room)
        self._by_key[key] = self._by_line[line] = session
        self._server.pipe_ends.keep_only(key, hello.agent)
        line.key = key
        line.greet()
        line.send(
            frames.Welcome(
                session=hello.session, server=self.name, ledger=ledger, keepalive_s=KEEPALIVE_S, window=WINDOW
            )
        )

    def _may_greet(self, key: Key, line: Line) -> bool:
        """Whether a guest has not begun too many sessions on one line after the other, its own or others' (TCP)."""
        now_s = line.loop.time()
        own = (key, line.vm_id is not None)
        return self._greetings.setdefault(own, Greetings(now_s, GREETINGS)).one_more(now_s)

    def _whose(self, line: Line, hello: frames.Hello) -> Guest | None:
        """On a line of its own a guest need not say who it is, and cannot say that it is another."""
        table = self._server.table
        if line.vm_id is not None:
            key = table.vms.get(line.vm_id)
            return table.guest(key) if key else None
        ledger = table.namespaces.get(line.namespace)
        for uuid in (hello.uuid.lower(), swapped(hello.uuid.lower())):
            guest = ledger.guests.get(uuid) if ledger else None
            if guest is not None and not guest.flushed and guest.vm.live:
                return guest
        return None

    def _gives_way(self, other: Session, line: Line, hello: frames.Hello) -> bool:
        """An agent makes way for itself, and one on a line that anybody may open for one on the guest's own."""
        if other.agent == hello.agent or other.line.gone:
            return True
        if line.vm_id is not None and other.line.vm_id is None:
            return True
        return line.loop.time() - other.line.heard_s > LOST_S

    def _refuse(self, line: Line, hello: frames.Hello, reason: str, retry_s: float) -> None:
        held_back = self._refusals.allows(line.loop.time())
        if held_back is not None:
            self._server.log.info(
                "agent_refused", uuid=hello.uuid, namespace=line.namespace, reason=reason, held_back=held_back
            )
        line.greet()
        line.send(frames.Refuse(session=hello.session, reason=reason, retry_s=retry_s))
        if not line.dialled:
            line.close(reason, flush=True)

    # --- what the core wants

    def tell(self, key: Key, frame: frames.Frame) -> None:
        """Send a frame, if the agent is there."""
        session = self._by_key.get(key)
        if session is not None:
            session.send(frame)

    def offer(self, effect: Offer) -> None:
        """Give guests what is for them; whoever has just come gets first what has waited, so nothing overtakes it."""
        namespace, uuid = effect.namespace, effect.uuid
        ledger = self._server.table.namespaces.get(namespace)
        if ledger is None:
            return
        chosen = [self._by_key.get((namespace, uuid))] if uuid else list(self.of(namespace))
        serials = [effect.serial] if effect.serial else list(ledger.ids.values())
        for session in chosen:
            if session is not None and session.synced and not session.over:
                session.served |= effect.first
                for number in serials if session.served else ():
                    session.dispatch.offer(number)

    def hang_up(self, namespace: str, uuid: str, reason: str) -> None:
        """Close lines."""
        for key, session in tuple(self._by_key.items()):
            if key[0] == namespace and uuid in ("", key[1]):
                line = session.line
                self._end(line, reason)
                line.close(reason)
                self._server.pipe_ends.keep_only(key)

    def forget(self, namespace: str, ids: tuple[int, ...] | None, uuid: str) -> list[tuple[str, str, int, str, int]]:
        """Responses were removed; returns where the streams are."""
        return [position for session in self.of(namespace) for position in session.intake.forget(namespace, ids, uuid)]

    # --- time

    def tick(self, now_s: float) -> None:
        """Once a second."""
        self.room.look_again()
        self._greetings = {key: one for key, one in self._greetings.items() if not one.is_forgettable(now_s)}
        for key, broken_s in tuple(self._broken.items()):
            if now_s - broken_s > BREAK_S or self.get(key) is not None:
                del self._broken[key]
        for line in tuple(self.lines):
            if line not in self._by_line and not line.dialled and now_s - line.opened_s > HELLO_S:
                line.close("it does not say who it is")
        for session in tuple(self._by_line.values()):
            session.tick(now_s)
        if not self._returned and now_s - self._started_s > RETURN_S:
            self._returned = True
            self._miss()

    def _miss(self) -> None:
        """Those that were connected when this actor ended, and have not come back."""
        for ledger in self._server.table.namespaces.values():
            for guest in tuple(ledger.guests.values()):
                if guest.connected and self.get(guest.vm.key) is None:
                    self._server.feed(Left(key=guest.vm.key, reason="it has not come back after a restart"))

    def close(self) -> None:
        """The process ends: lines are cut, and nothing is noted, so that all are expected back."""
        for line in tuple(self.lines):
            session = self._by_line.pop(line, None)
            if session is not None:
                session.end("", replaced=True)
            line.close("the server is ending")
        self._by_key.clear()


def swapped(uuid: str) -> str:
    """The first three groups byte by byte the other way round, as some firmware has it (SMBIOS 2.6, 7.2.1)."""
    groups = uuid.split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12]:
        return ""
    turned = ["".join(reversed([group[i : i + 2] for i in range(0, len(group), 2)])) for group in groups[:3]]
    return "-".join([*turned, *groups[3:]])
