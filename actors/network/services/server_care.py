"""Starts, follows and ends dnsmasq servers, beside the loop of the network actor. What is decided is in `servers`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from actors.network.services.server_table import (
    CheckOption,
    EndServers,
    FollowServer,
    OptionChecked,
    Server,
    ServerFailed,
    ServerGone,
    ServerLost,
    ServersEnded,
    ServerTable,
    ServerUp,
    StartServer,
    WriteServers,
)
from bus.actor.step import Effect, Input
from bus.logs.logs import Log
from bus.paths import Context
from shims.linux.process import open_pidfd
from shims.network import dnsmasq
from shims.programs import process, process_tree
from shims.programs.process_tree import Tree

END_S = 2.0
"""Between SIGTERM and SIGKILL."""


class ServerCare:
    """See the module. `table` gives the present state, `feed` takes what came of an effect."""

    def __init__(
        self,
        context: Context,
        log: Log,
        *,
        table: Callable[[], ServerTable],
        feed: Callable[[Input], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self._context = context
        self._log = log
        self._table = table
        self._feed = feed
        self._spawn = spawn
        self._programs: dict[int, process.Started] = {}
        """Our children; those of an earlier process of this actor are the node's."""

    def carry_out(self, effect: Effect) -> bool:
        """Do an effect; returns whether it was one about servers."""
        match effect:
            case StartServer(id=id_):
                self._spawn(self._start(id_), f"start dnsmasq {id_}")
            case EndServers(ids=ids):
                self._spawn(self._end(ids), f"end dnsmasq {ids}")
            case FollowServer(id=id_):
                self._follow(self._table().servers[id_])
            case WriteServers(ids=ids):
                self._write(ids)
            case CheckOption():
                self._spawn(self._check(effect), f"check {effect.msg_id}")
            case ServerLost(id=id_, pid=pid):
                self._log.warn("dnsmasq_ended", id=id_, pid=pid, what="it has ended by itself, and does not serve")
            case _:
                return False
        return True

    def _directory(self, server: Server) -> Path:
        return self._context.base / server.directory

    def _mark(self, server: Server) -> str:
        """As those of background jobs, so that `nuke` finds it."""
        return f"{self._context.tag}-{server.directory}"

    async def _start(self, id_: int) -> None:
        server = self._table().servers[id_]
        spec = dnsmasq.Spec(
            directory=self._directory(server),
            mark=self._mark(server),
            address=server.address,
            low=server.low,
            high=server.high,
            config=server.config,
        )
        try:
            await asyncio.to_thread(process_tree.end, [Tree(spec.mark)], END_S)  # of an attempt before a crash
            if spec.config:
                await dnsmasq.check(f"--conf-file={spec.config}")
            program, up = await asyncio.to_thread(dnsmasq.start, spec, dnsmasq.Entries())
        except dnsmasq.DnsmasqError as error:
            self._feed(ServerFailed(id=id_, message=str(error)))
            return
        except Exception as error:  # whoever waits for it must not wait for ever
            self._log.exception("dnsmasq_not_started", error, id=id_)
            self._feed(ServerFailed(id=id_, message=f"internal error in network; its log has it under dnsmasq {id_}"))
            return
        self._programs[id_] = program
        self._feed(
            ServerUp(
                id=id_,
                pid=up.pid,
                ticks=up.ticks,
                path=str(spec.directory),
                interface=up.place.interface,
                network=up.place.network,
            )
        )
        self._watch(id_, up.pid, up.ticks)

    def _follow(self, server: Server) -> None:
        self._write((server.id,))
        self._watch(server.id, server.pid, server.ticks)

    def _watch(self, id_: int, pid: int, ticks: int) -> None:
        try:
            pidfd = open_pidfd(pid, ticks)
        except ProcessLookupError:
            self._feed(ServerGone(id=id_, pid=pid))
            return
        self._spawn(self._wait(id_, pid, pidfd), f"dnsmasq {id_}")

    async def _wait(self, id_: int, pid: int, pidfd: int) -> None:
        try:
            await process.wait_for_end(pidfd)
        finally:
            os.close(pidfd)
        if (program := self._programs.pop(id_, None)) is not None:
            program.wait()
        self._feed(ServerGone(id=id_, pid=pid))

    async def _end(self, ids: tuple[int, ...]) -> None:
        servers = [server for id_ in ids if (server := self._table().servers.get(id_)) is not None]
        trees = [Tree(self._mark(server), max(server.pid, 0), server.ticks) for server in servers]
        ending = await asyncio.to_thread(process_tree.end, trees, END_S)
        if ending.left:
            self._log.error("dnsmasq_does_not_end", pids=" ".join(map(str, ending.left)))
        for server in servers:
            dnsmasq.remove(self._directory(server))
        self._feed(ServersEnded(ids=ids))

    def _write(self, ids: tuple[int, ...]) -> None:
        for id_ in ids:
            server = self._table().servers[id_]
            entries = dnsmasq.Entries(server.fixed, server.names, server.options, server.upstream)
            try:
                dnsmasq.write(self._directory(server), entries)
            except OSError as error:
                self._log.error("dnsmasq_not_told", id=id_, error=os.strerror(error.errno or 0))
            else:
                dnsmasq.reread(server.pid, server.ticks)

    async def _check(self, effect: CheckOption) -> None:
        try:
            await dnsmasq.check("--conf-file=/dev/null", f"--dhcp-option={effect.option}")
        except dnsmasq.DnsmasqError as error:
            why = str(error).removeprefix("bad command line options: ")
            problem = f"`{effect.option}` is no DHCP option: {why}"
        else:
            problem = ""
        self._feed(OptionChecked(msg_id=effect.msg_id, problem=problem))
