"""The gateway: the way into the bus for clients on other hosts, over TCP, with keys.

A process of its own, so that handshakes and abuse cost its time and memory and never the broker's, and a client of the
broker like others: one connection for requests, one for events. What a client may do is looked up by the key that the
socket vouches for (`bus.access.rights`); what messages claim is overwritten. There is no way to publish over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import defaultdict

import msgspec
import zmq

from bus import codec, errors
from bus.access import rights
from bus.access.key_files import KeyStore
from bus.access.keys import Key, Verdict
from bus.actor.base import Actor, RequestContext, query
from bus.actor.vitals import rss_bytes
from bus.gateway.connections import Connections
from bus.gateway.doors import Doors, GatewaySockets
from bus.gateway.greed import Greed
from bus.gateway.relay import Relay
from bus.gateway.throttle import Throttle
from bus.gateway.watchers import Heard, Watchers
from bus.language.vm_names import is_valid
from bus.messages.base import Ack, Failure, Message
from bus.messages.control import Synced
from bus.messages.envelope import Envelope
from bus.messages.gateway import GetRights, ReloadKeys, Rights
from bus.node.lifecycle import EXIT_BUG
from bus.pump import Origin
from bus.settings.listen_address import LISTEN, parse_listen, wanted
from bus.topics import sync_topic

TICK_S = 1.0
MEMORY_S = 0.25
MAX_RSS_BYTES = 1024 * 1024 * 1024
"""Memory of this process from which on it cuts who sends most; a quarter is enough to cut who is far behind with
reading, and at twice as much it ends."""
MAX_HEAD = 64 * 1024
"""Bytes of an envelope."""
LINES = 20
LINES_S = 10.0
"""So many log lines of each kind about connections within so long; the rest is counted."""


class Gateway(Actor):
    """See the module."""

    kind = "gateway"

    def check_settings(self) -> None:
        """Raise InvalidError if nobody has said where to listen."""
        if not wanted():
            raise errors.InvalidError(f"it was not said where to listen: set {LISTEN}, e.g. to tcp://0.0.0.0:9200")
        parse_listen(wanted())

    async def on_start(self) -> None:
        """Listen; raises a BusError that says why that cannot be."""
        endpoint = parse_listen(wanted())
        self._store = KeyStore(self.context.paths.keys)
        self._counts = dict.fromkeys(
            ("accepted", "refused", "cut", "requests", "denied", "malformed", "events", "unsent"), 0
        )
        self._throttles: defaultdict[str, Throttle] = defaultdict(lambda: Throttle(LINES, LINES_S))
        self._connections = Connections()
        self._relay = Relay()
        self._lost_s = 0.0
        """When the broker went away last: until it knows this process again, requests would have no name."""
        self._watchers = Watchers()
        self._greed = Greed()
        self._published_bytes = 0
        self._syncing: list[tuple[int, str]] = []
        """Connections that wait to hear that their subscriptions are in force, and on which topics."""
        self._asked_sync = ""
        self._answered_by_sync: list[tuple[int, str]] = []
        pair = self._store.server_pair()
        self._stamp, self._ring = self._store.stamp(), self._store.load()
        doors = Doors(self._judge, self._on_client, self._on_subscription, self._on_closed, self._on_cut)
        self._sockets = GatewaySockets(endpoint, pair, doors, self._connections)
        self._sub = self._sockets.listener(f"ipc://{self.context.paths.events}", self._on_event)
        self.port.on_other_answer = self._on_answer
        self.port.on_disconnected = self._on_broker_lost
        self.context.paths.gateway.write_text(f"{endpoint}\n")
        self.spawn(self._keep_looking(), name="keys")
        self.spawn(self._keep_in_bounds(), name="memory")
        self.log.info("gateway_listens", address=str(endpoint), public=pair.public, keys=len(self._ring.by_name))

    async def on_stop(self) -> None:
        """Listen no more."""
        self._sockets.close()
        self.context.paths.gateway.unlink(missing_ok=True)

    def counters(self) -> dict[str, int]:
        """What came in and what was refused."""
        now = {"connections": len(self._connections.by_fd), "subscribed": len(self._watchers.wanted())}
        return {**self._counts, **now, "waiting": len(self._relay.waiting)}

    @query
    async def reload_keys(self, msg: ReloadKeys, request: RequestContext) -> Ack:
        """The command that changed the keys says so."""
        self._reload()
        return Ack()

    @query
    async def get_rights(self, msg: GetRights, request: RequestContext) -> Rights:
        """Of somebody on this host."""
        return Rights(name=request.sender, role="control", topics=("",), host=self.context.host)

    # --- keys

    async def _keep_in_bounds(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_S)
            self._watch_memory(rss_bytes())

    async def _keep_looking(self) -> None:
        while True:
            await self.vitals.pause(TICK_S)
            self._relay.expire(time.monotonic())
            if self._store.stamp() != self._stamp:
                self._reload()
            now_s = time.time()
            self._cut_keys({key.public for key in self._ring.by_name.values() if key.trouble(now_s)})
            for connection in self._connections.silent(time.monotonic()):
                self._sockets.cut(connection.fd, "it said nothing")

    def _watch_memory(self, rss: int) -> None:
        """libzmq bounds neither the parts of one message nor the bytes of a queue: the greediest client has to go.

        What was taken is not always given back; then this process ends, and clients come back to the next one.
        """
        if rss <= MAX_RSS_BYTES // 8:
            self._greed = Greed()
            return
        self._greed.look(self._sockets.traffic(self._published_bytes))
        sent, behind = self._greed.sent, self._greed.behind
        if rss > 2 * MAX_RSS_BYTES:
            self.log.error("gateway_memory", rss_bytes=rss)
            self.begin_stop(EXIT_BUG)
        elif rss > MAX_RSS_BYTES and sent:
            self._sockets.cut(max(sent, key=lambda fd: sent[fd]), "it sent most, and memory is short")
        if rss > MAX_RSS_BYTES // 4:
            for fd in [fd for fd, size in behind.items() if size > MAX_RSS_BYTES // 16]:
                self._sockets.cut(fd, "it does not read what it asked for, and memory is short")

    def _reload(self) -> None:
        old = self._ring
        stamp = self._store.stamp()
        try:
            self._ring = self._store.load()
        except (errors.BusError, OSError) as error:
            self.log.error("keys_not_read", reason=str(error))  # those known so far stay in force
            return
        finally:
            self._stamp = stamp
        now = {key.public: key for key in self._ring.by_name.values()}
        changed = {key.public for key in old.by_name.values() if now.get(key.public) != key}
        self.log.info("keys_read", keys=len(now), changed=len(changed))
        self._cut_keys(changed)

    def _cut_keys(self, publics: set[str]) -> None:
        """Cut all connections of some keys: what a changed key still may have, it gets on coming back."""
        used = {connection.public for connection in self._connections.by_fd.values()}
        for connection in self._connections.of_keys(frozenset(publics & used)):
            verdict = self._ring.judge(connection.public, time.time())
            self._sockets.cut(connection.fd, f"its key is {verdict.trouble}" if verdict.trouble else "its key changed")

    def _judge(self, public: str, address: str) -> Verdict:
        verdict = self._ring.judge(public, time.time())
        name = verdict.key.name if verdict.key else ""
        if verdict.trouble:
            self._counts["refused"] += 1
            self._note("warn", "client_refused", key=name, public=public, address=address, reason=verdict.trouble)
        else:
            self._counts["accepted"] += 1
            self._note("info", "client_accepted", key=name, public=public, address=address)
        return verdict

    def _on_cut(self, peer: str, why: str) -> None:
        self._counts["cut"] += 1
        self._note("warn", "connection_cut", address=peer, reason=why)

    def _note(self, level: str, event: str, **fields: str) -> None:
        held_back = self._throttles[event].allows(time.monotonic())
        if held_back is not None:
            self.log.record(level, event, {**fields, "held_back": held_back} if held_back else dict(fields))

    def _key_of(self, origin: Origin) -> Key | None:
        """Of the client behind a message; it is cut if that one may not be here any more."""
        verdict = self._ring.judge(origin.user, time.time())
        if verdict.trouble:
            self._sockets.cut(origin.fd, f"its key is {verdict.trouble}")
            return None
        return verdict.key

    def _on_closed(self, fd: int, identity: bytes) -> None:
        self._upstream(self._watchers.gone(fd))
        if identity:
            self._relay.drop(frozenset((identity,)))

    # --- requests

    def _on_client(self, origin: Origin, frames: list[bytes]) -> None:
        key = self._key_of(origin)
        if key is None:
            return
        self._counts["requests"] += 1
        try:
            identity, head, body = frames
            if len(head) > MAX_HEAD:
                raise ValueError
            envelope = codec.decode_envelope(head)
        except ValueError:
            self._counts["malformed"] += 1
            self._sockets.cut(origin.fd, "it sent something that is no request", banish=True)
            return
        except errors.MalformedError as error:
            self._counts["malformed"] += 1
            if msg_id := codec.request_id(head):
                self._answer_client(identity, Envelope(kind="request", id=msg_id), self._failure(error))
            return
        if envelope.kind != "request":
            self._counts["malformed"] += 1  # nobody asks clients anything
            return
        try:
            self._pass_on(identity, key, envelope, body)
        except errors.BusError as error:
            if isinstance(error, errors.DeniedError):
                self._counts["denied"] += 1
                self._note("warn", "request_denied", key=key.name, type=envelope.type[:64], reason=str(error))
            self._answer_client(identity, envelope, self._failure(error))

    def _pass_on(self, identity: bytes, key: Key, envelope: Envelope, body: bytes) -> None:
        if not is_valid(envelope.namespace):
            raise errors.InvalidError("invalid request: `namespace` is not a name that one may have")
        request = rights.admit(key, codec.decode_body(body), envelope.namespace)
        if isinstance(request, GetRights) and envelope.to.partition("@")[0] == self.kind:
            self._answer_client(identity, envelope, self._rights(key))
            return
        if self.port.welcomed_s <= self._lost_s:
            raise errors.UnreachableError("unreachable: the broker is being restarted")
        onward = codec.encode(request)  # anew: what was judged is what goes on, even if bytes can be read in two ways
        inner = self._relay.inward(identity, key, envelope, time.monotonic(), len(onward))
        inner = msgspec.structs.replace(inner, type=codec.tag_of(request))
        try:
            self.port.relay(inner, onward)
        except errors.BusError:
            self._relay.refused(inner.id)
            raise

    def _rights(self, key: Key) -> Rights:
        return Rights(
            name=key.name,
            role=key.role.value,
            namespaces=key.namespaces,
            topics=rights.visible(key),
            expires_s=key.expires_s,
            host=self.context.host,
        )

    def _on_answer(self, envelope: Envelope, body: bytes) -> None:
        routed = self._relay.outward(envelope)
        if routed is not None:
            self._send_client(routed[0], routed[1], body)

    def _on_broker_lost(self) -> None:
        self._lost_s = time.monotonic()
        error = errors.CancelledError("the broker went away before there was an answer; the outcome is unknown")
        for waiting in self._relay.lost():
            asked = Envelope(kind="request", id=waiting.msg_id, namespace=waiting.namespace)
            self._answer_client(waiting.identity, asked, self._failure(error))

    def _answer_client(self, identity: bytes, asked: Envelope, body: Message) -> None:
        envelope = Envelope(
            kind="failure" if isinstance(body, Failure) else "reply",
            id=asked.id,
            type=codec.tag_of(body),
            sender=f"{self.kind}@{self.context.host}",
            host=self.context.host,
            namespace=asked.namespace,
            epoch=self.port.epoch,
            seq=self.port.seq,
            time=time.time(),
        )
        self._send_client(identity, envelope, codec.encode(body))

    def _send_client(self, identity: bytes, envelope: Envelope, body: bytes) -> None:
        connection = self._connections.by_identity.get(identity)
        if connection is None:
            self._counts["unsent"] += 1  # it has gone
            return
        try:
            self._sockets.requests.send([identity, codec.encode(envelope), body])
            connection.offered_bytes += len(body)
        except zmq.Again:
            self._counts["unsent"] += 1
            self._sockets.cut(connection.fd, "it does not read its answers")
        except zmq.ZMQError:
            self._counts["unsent"] += 1

    # --- events

    def _on_subscription(self, origin: Origin, frame: bytes) -> None:
        key = self._key_of(origin)
        if key is None:
            return
        heard = self._watchers.heard(origin.fd, key, frame)
        if heard.cut:
            self._sockets.cut(origin.fd, heard.cut, banish=True)
            return
        self._sockets.give(heard.subscribe, heard.unsubscribe)
        self._upstream(heard)
        if heard.sync:
            self._syncing.append((origin.fd, heard.sync))
            self._sync()

    def _upstream(self, heard: Heard) -> None:
        for prefix in heard.join:
            self._sub.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        for prefix in heard.leave:
            self._sub.setsockopt(zmq.UNSUBSCRIBE, prefix.encode())

    def _sync(self) -> None:
        """Ask the broker whether all that was subscribed to is in force; one question at a time, for all who wait."""
        if self._asked_sync or not self._syncing:
            return
        self._asked_sync = sync_topic(secrets.token_hex(8))
        self._answered_by_sync, self._syncing = self._syncing, []
        self._sub.setsockopt(zmq.SUBSCRIBE, self._asked_sync.encode())

    def _on_event(self, frames: list[bytes]) -> None:
        if frames[0] == self._asked_sync.encode():
            self._on_synced()
            return
        self._counts["events"] += 1
        self._publish_out(frames)

    def _on_synced(self) -> None:
        self._sub.setsockopt(zmq.UNSUBSCRIBE, self._asked_sync.encode())
        for fd, topic in self._answered_by_sync:
            refused, narrowed = self._watchers.told(fd)
            synced = Synced(refused=refused, narrowed=narrowed)
            envelope = Envelope(
                kind="event",
                id=f"{self.port.epoch}.{secrets.token_hex(8)}",
                type=codec.tag_of(synced),
                sender=f"{self.kind}@{self.context.host}",
                host=self.context.host,
                epoch=self.port.epoch,
                seq=self.port.seq,
                topic_seq=1,
                time=time.time(),
            )
            self._publish_out([topic.encode(), codec.encode(envelope), codec.encode(synced)])
        self._asked_sync = ""
        self._sync()

    def _publish_out(self, frames: list[bytes]) -> None:
        self._published_bytes += sum(map(len, frames))
        with contextlib.suppress(zmq.Again):
            self._sockets.events.send(frames)

    def _failure(self, error: errors.BusError) -> Failure:
        return errors.to_failure(error, f"{self.kind}@{self.context.host}")
