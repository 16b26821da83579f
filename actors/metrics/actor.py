"""The shell of the `metrics` actor: listens to statistics, asks for the rest when somebody looks, answers HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from pathlib import Path

from prometheus_client import exposition
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from actors.metrics.board import Board, Snapshot
from actors.metrics.families import families
from bus import codec
from bus.actor.base import Actor
from bus.errors import BusError, InvalidError, UnavailableError
from bus.messages.control import ActorStatus
from bus.messages.vm import GetVmCounts, VmCount
from bus.processes import Figures, figures
from bus.settings.metrics_address import METRICS, Address, parse_address, wanted
from bus.topics import topic
from shims.files import replaced_file
from shims.http.server import HttpServer, Request, Response
from shims.usage import hoststat
from shims.usage.hoststat import HostFigures

LISTENER = "listener"
BACKLOG = 128
VMS_S = 2.0
"""For `vm` to count."""
FRESH_S = 1.0
"""Answers are made anew so often at most, however many ask."""
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"


class _Families:
    """What the exposition functions take for a registry."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._families = tuple(families(snapshot))

    def collect(self) -> tuple[Metric, ...]:
        """All of them."""
        return self._families


class MetricsActor(Actor):
    """See the module. Keeps nothing but its socket, which the node hands to its successor."""

    kind = "metrics"

    def check_settings(self) -> None:
        """Raise InvalidError if nobody has said where to serve metrics."""
        if not wanted():
            raise InvalidError(f"it was not said where to serve metrics: set {METRICS}, e.g. to 9100")
        parse_address(wanted())

    async def on_start(self) -> None:
        """Listen; raises a BusError that says why that cannot be."""
        self._board = Board()
        self._made: tuple[float, Snapshot] = (float("-inf"), Snapshot())
        self._making = asyncio.Lock()
        listening = await self._listener(parse_address(wanted()))
        address = Address(*listening.getsockname()[:2])
        try:
            replaced_file.replace(self.context.paths.metrics, f"{address}\n")
        except OSError as error:  # a full disk; metrics are to be had all the same, and are wanted most then
            self.log.warn("metrics_address_not_written", address=str(address), error=error.strerror or str(error))
        self._server = HttpServer(listening, self._respond)
        await self._server.open()
        self.spawn(self._follow(), name="follow")
        self.log.info("metrics_served", address=str(address))

    async def on_stop(self) -> None:
        """Listen no more."""
        await self._server.close()
        self.context.paths.metrics.unlink(missing_ok=True)

    async def _listener(self, address: Address) -> socket.socket:
        """That of a predecessor, so that a port which the kernel chose stays the same, or a new one."""
        kept = await self.lane.fetch_fds()
        if LISTENER in kept:
            return socket.socket(fileno=kept[LISTENER])
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            raise UnavailableError(f"cannot listen on {address}: {error.strerror}") from error
        self.lane.store_fd(LISTENER, listening.fileno())
        return listening

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        subscription = await self.port.subscribe(topic("stats", self.context.host))
        async for delivery in subscription:
            with contextlib.suppress(BusError):  # not of this version, or not from a process of ours
                self._board.take(codec.decode_body(delivery.body), loop.time())

    # --- answering

    async def _respond(self, request: Request) -> Response:
        if request.path == "/":
            return Response(b"minibus: metrics for Prometheus are at /metrics\n")
        if request.path != "/metrics":
            return Response(b"there is only /metrics here\n", status=HTTPStatus.NOT_FOUND)
        collected = _Families(await self._snapshot())
        if OPENMETRICS in request.accept:
            body = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
            return Response(body, openmetrics.CONTENT_TYPE_LATEST)
        return Response(exposition.generate_latest(collected), PLAIN)

    async def _snapshot(self) -> Snapshot:
        loop = asyncio.get_running_loop()
        async with self._making:
            made_s, snapshot = self._made
            if loop.time() - made_s >= FRESH_S:
                snapshot = await self._look(loop.time())
                self._made = (loop.time(), snapshot)
            return snapshot

    async def _look(self, now_s: float) -> Snapshot:
        processes = self._board.processes(now_s)
        vms, (found, host) = await asyncio.gather(
            self._vms(), asyncio.to_thread(lambda: (_figures(processes), host_figures(self.context.base)))
        )
        return Snapshot(processes, found, self._board.stats(now_s), vms, host)

    async def _vms(self) -> tuple[VmCount, ...] | None:
        try:
            return (await self.port.ask("vm", GetVmCounts(), timeout_s=VMS_S)).counts
        except BusError:
            return None  # its own metrics show that it is not there


def host_figures(base: Path) -> HostFigures | None:
    """Those of the host; None if the base directory cannot be looked at, since the others are worth telling alone."""
    try:
        return hoststat.figures(base)
    except OSError:
        return None


def _figures(processes: tuple[ActorStatus, ...]) -> dict[str, Figures]:
    found = {one.actor: figures(one.pid, with_pss=True) for one in processes if one.pid}
    return {name: one for name, one in found.items() if one is not None}
