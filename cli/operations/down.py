"""`minibus down`: ends the node of a base directory; the guests go on unless they are to end too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bus.access.group import user_name
from bus.client import connect
from bus.errors import BusError, NotFoundError, UnreachableError
from bus.lock import holder
from bus.messages.base import DEFAULT_NAMESPACE
from bus.messages.control import StopNode
from bus.messages.namespace import DestroyNamespace, GetNamespaces
from bus.messages.vm import FlushVms, KillVms
from bus.node.by_hand import held_locks
from bus.paths import Paths
from bus.port import Port
from bus.processes import is_stopped
from cli.commands.network import ends as network_ends

GUESTS_S = 600.0
STOP_S = 60.0
POLL_S = 0.02


def down(base: Path, *, guests: bool, namespaces: bool = False) -> int:
    """Stop everything; returns the exit status when nothing of it runs any more.

    With `namespaces` what was configured in them is forgotten together with the guests.
    """
    base = base.resolve()
    lock = Paths(base).run / "node.lock"
    try:
        lock.exists()
    except PermissionError:
        return _fail(f"user {user_name()} may not stop the minibus of {base}")
    pid = holder(lock)
    if not pid:
        return _fail(_not_running(base))
    if is_stopped(pid):
        return _fail(f"the node (pid {pid}) is suspended, nothing was stopped: first have it go on, `kill -CONT {pid}`")
    try:
        asyncio.run(_stop(base, guests=guests, namespaces=namespaces))
    except BusError as error:
        if guests or namespaces:
            return _fail(f"{error}; nothing was stopped")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while holder(lock) == pid:
        if is_stopped(pid):
            return _fail(f"the node (pid {pid}) has been suspended: it ends when you have it go on, `kill -CONT {pid}`")
        if time.monotonic() > deadline:
            return _fail(f"the node (pid {pid}) is still stopping after {STOP_S:g} s")
        time.sleep(POLL_S)
    return 0


async def _stop(base: Path, *, guests: bool, namespaces: bool) -> None:
    async with connect(base) as port:
        if namespaces:
            await _end_namespaces(port)
        elif guests:
            await _end_guests(port)
        await port.ask("node", StopNode(), timeout_s=10.0)


async def _end_guests(port: Port) -> None:
    found = await port.ask("namespace", GetNamespaces(), timeout_s=10.0)
    for namespace in found.namespaces:
        for request in (KillVms(target="all"), FlushVms()):
            report = await port.ask("vm", request, timeout_s=GUESTS_S, namespace=namespace.name)
            for error in report.errors:
                sys.stderr.write(f"minibus: {error}\n")
    await _end_networks(port, [namespace.name for namespace in found.namespaces])


async def _end_networks(port: Port, namespaces: Sequence[str] = ()) -> None:
    """What the host has so that guests reach it is of no use without them."""
    try:
        errors = await network_ends.end(port, "network", namespaces)
    except UnreachableError:  # the rest ends even so
        errors = [network_ends.GIVEN_UP]
    for error in errors:
        sys.stderr.write(f"minibus: {error}\n")


async def _end_namespaces(port: Port) -> None:
    found = await port.ask("namespace", GetNamespaces(), timeout_s=10.0)
    for name in sorted({namespace.name for namespace in found.namespaces} | {DEFAULT_NAMESPACE}):
        try:
            report = await port.ask("namespace", DestroyNamespace(), timeout_s=GUESTS_S, namespace=name)
        except NotFoundError:  # another client was faster
            continue
        for error in report.errors:
            sys.stderr.write(f"minibus: {error}\n")
    await _end_networks(port)


def _not_running(base: Path) -> str:
    by_hand = [f"{one.name} (pid {one.pid})" for one in held_locks(Paths(base).run)]
    if [one for one in by_hand if not one.startswith("warden ")]:
        return f"there is no node on {base}; end as you have started them: {', '.join(by_hand)}"
    if warden := holder(Paths(base).run / "warden.lock"):
        return (
            f"minibus is not running on {base}, but its containers are (warden: pid {warden}): "
            f"`minibus up --base {base}` takes them back, then `minibus down --guests` ends them"
        )
    return f"minibus is not running on {base}"


def _fail(message: str) -> int:
    sys.stderr.write(f"minibus: {message}\n")
    return 1
