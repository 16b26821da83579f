"""The agent of one guest: its parts, and which message is whose."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from shims.agent import interfaces_linux, platform_linux
from shims.agent.commands.commands import Commands
from shims.agent.commands.records import Records
from shims.agent.line.line import Endpoint
from shims.agent.line.session import Session
from shims.agent.local import LocalSocket, Tags
from shims.agent.log import Log
from shims.agent.loop import Loop
from shims.agent.pipes import Pipes
from shims.agent.places import FILES, SOCKET, Place
from shims.agent.processes import Processes
from shims.agent.tunnels import Tunnels

if TYPE_CHECKING:
    from shims.agent.mounts.mounts import Mounts

Message = dict[str, Any]

END_S = 1.0
"""How long what is still to be sent may take at the end."""
_FACTS_S = 0.5
"""After a change of addresses; there are often several at once."""
_FEATURES = ["mount"]
"""What not every agent of this version of the protocol can do."""
_MOUNT_MESSAGES = frozenset(("mount", "unmount", "fuse"))
_PIPE_MESSAGES = frozenset(("pipe_data", "pipe_ack", "pipe_end"))
_TUNNEL_MESSAGES = frozenset(("dial", "listen", "unlisten", "dialed", "carry", "carried", "shut", "hang_up"))


class Agent:
    """Everything that serves one guest; `run` is until a signal says to end."""

    def __init__(self, uuid: str, endpoints: list[Endpoint], place: Place, log: Log) -> None:
        self.log = log
        self.uuid, self._place = uuid, place
        self._id = os.urandom(8).hex()
        self._boot = platform_linux.boot_id()
        self.files = place.path(FILES)
        self.loop = Loop(lambda error: log.error(f"this should not happen: {type(error).__name__}: {error}"))
        self.session = Session(
            self.loop,
            log,
            endpoints,
            hello=self._hello,
            on_welcome=self._welcome,
            on_message=self._take,
            on_end=self._session_ended,
            on_room=self._has_room,
            on_tick=self._look_at_hostname,
        )
        self.records = Records(place.directory, self._boot, uuid, log)
        self.processes = Processes(self.loop)
        self.pipes = Pipes()
        self.tunnels = Tunnels(self)
        self.mounts: Mounts | None = None
        """Once there is one: few guests are ever mounted."""
        self.tags = Tags(self)
        self.commands = Commands(self)
        self._facts: Message = {}
        self._facts_are_due = False
        self._ending = False
        self._local = LocalSocket(self, place.path(SOCKET)) if place.directory else None

    def run(self) -> None:
        """Serve."""
        numbers = [signal.SIGCHLD, signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell has put us into the background
            numbers.append(signal.SIGINT)
        self.loop.on_signals(numbers, self._signalled)
        self._watch_addresses()
        self.session.line.start()
        self.loop.run()
        self._close()

    # --- the session

    def _hello(self) -> Message:
        self._facts = self._facts_now()
        return {
            "uuid": self.uuid,
            "boot": self._boot,
            "agent": self._id,
            **platform_linux.describe(),
            **self._facts,
            "ledger": self.records.ledger,
            "durable": self.records.is_durable,
            "features": _FEATURES,
        }

    def _welcome(self, message: Message) -> None:
        self.commands.belong_to(str(message["ledger"]))
        for record in self.commands.records():
            self.session.send(record)
        self.session.send({"type": "synced"})
        self.commands.resume()
        self.pipes.announce()
        self.tags.resume()

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind in _PIPE_MESSAGES:
            self.pipes.take(message)
        elif kind in _TUNNEL_MESSAGES:
            self.tunnels.take(message)
        elif kind in _MOUNT_MESSAGES:
            self._mounts().take(message)
        elif kind == "tagged":
            self.tags.take(message)
        elif "serial" in message:
            self.commands.take(message)

    def _mounts(self) -> Mounts:
        if self.mounts is None:
            from shims.agent.mounts.mounts import Mounts

            self.mounts = Mounts(self)
        return self.mounts

    def _has_room(self) -> None:
        self.tunnels.go_on()
        if self.mounts is not None:
            self.mounts.go_on()

    def _session_ended(self) -> None:
        self.commands.hold()
        self.tunnels.close()
        if self.mounts is not None:
            self.mounts.close()

    # --- facts

    def _facts_now(self) -> Message:
        ips, macs = interfaces_linux.addresses()
        return {"hostname": platform_linux.hostname(), "ips": ips, "macs": macs}

    def _watch_addresses(self) -> None:
        netlink = interfaces_linux.watch()
        if netlink is None:
            self.log.info("changes of addresses are seen only when a session begins")
            return

        def changed() -> None:
            interfaces_linux.drain(netlink)
            if not self._facts_are_due:
                self._facts_are_due = True
                self.loop.call_later(_FACTS_S, self._tell_facts)

        self.loop.on_readable(netlink.fileno(), changed)

    def _look_at_hostname(self) -> None:
        """The kernel tells nobody when it changes."""
        if platform_linux.hostname() != self._facts["hostname"]:
            self._tell_facts()

    def _tell_facts(self) -> None:
        self._facts_are_due = False
        facts = self._facts_now()
        if facts != self._facts and self.session.is_up:
            self._facts = facts
            self.session.send({"type": "facts", **facts})

    # --- the end

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self.processes.look()
        elif not self._ending:
            self._ending = True
            self.log.info("the agent ends")
            self._end_when_sent()
            self.loop.call_later(END_S, self.loop.stop)

    def _end_when_sent(self) -> None:
        if self.session.line.pending:
            self.loop.call_later(0.01, self._end_when_sent)
        else:
            self.loop.stop()

    def _close(self) -> None:
        self.session.line.stop()
        if self._local is not None:
            self._local.close()
        self.records.close()
        self._place.close()
