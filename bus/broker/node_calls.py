"""What the broker answers for the node: the node speaks no ZeroMQ, so each question goes over the control lane."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from bus.broker.sizes import Sizes
from bus.errors import InvalidError, UnavailableError, UnknownTypeError
from bus.logs import log_settings
from bus.messages import control as msg
from bus.messages import debug
from bus.messages.base import Ack, Message
from bus.node.by_hand import held_locks
from bus.node.control import ControlLane
from bus.paths import Context, start_flags

STARTED_BY_HAND = "not started by a node"
CONNECT_S = 3.0
"""How long a syslog server is looked for before it is taken for unreachable."""

SIZES = Sizes()

REQUESTS = (
    msg.GetActors,
    msg.StopNode,
    msg.RestartActor,
    msg.Nuke,
    debug.GetLogging,
    debug.SetLogging,
    debug.ResetLogging,
    debug.GetLogLines,
    debug.GetFlags,
)
"""To `node`."""


async def answer(lane: ControlLane, context: Context, request: Message, registered: Collection[str] = ()) -> Message:
    """The node's reply to one of `REQUESTS`; raises BusError.

    Where there is no node, those are told that hold their locks; of them the `registered` ones serve.
    """
    match request:
        case msg.GetActors() if not lane.present:
            return await _looked_at(context, _by_hand(context, registered))
        case msg.GetActors():
            return await _looked_at(context, await processes(lane))
        case msg.StopNode():
            await _call(lane, "stop_node")
            return Ack()
        case msg.RestartActor(actor=actor):
            await _call(lane, "restart", actor=actor)
            return Ack()
        case msg.Nuke():
            await _call(lane, "nuke")
            return Ack()
        case debug.GetLogging():
            return msgspec.convert((await _call(lane, "logging"))["settings"], debug.Logging)
        case debug.SetLogging():
            await _set_logging(lane, request)
            return Ack()
        case debug.ResetLogging(settings=settings):
            if unknown := set(settings) - set(log_settings.NAMES):
                raise InvalidError(f"there is no log setting `{sorted(unknown)[0][:40]}`")
            await _call(lane, "reset_logging", names=settings)
            return Ack()
        case debug.GetLogLines():
            return debug.LogLines(lines=await _lines(lane))
        case debug.GetFlags():
            return debug.Flags(flags=flags(context, os.environ))
        case _:
            raise UnknownTypeError("`node` does not understand this")


def flags(context: Context, environment: Mapping[str, str]) -> dict[str, str]:
    """What the node was started with, in minimega's words; raises InvalidError if the environment makes no sense."""
    try:
        logs = log_settings.from_environment(environment)
    except ValueError as error:
        raise InvalidError(str(error)) from error
    return {
        **start_flags(),
        "base": str(context.base),
        "durable": _word(context.durable),
        "filepath": str(context.files_dir),
        "level": logs.level,
        "logfile": logs.file,
        "v": _word(logs.stderr),
        "verbose": _word(logs.stderr),
    }


def _word(value: bool) -> str:
    return "true" if value else "false"


async def _call(lane: ControlLane, what: str, **arguments: Any) -> dict[str, Any]:
    try:
        answer = await lane.call(what, **arguments)
    except (TimeoutError, ConnectionError) as error:
        raise UnavailableError(str(error) or "the node does not answer") from error
    if "error" in answer:
        raise InvalidError(str(answer["error"]))
    return answer


def _by_hand(context: Context, registered: Collection[str]) -> tuple[msg.ActorStatus, ...]:
    serving = {*registered, "broker", "warden", "node"}
    return tuple(
        msg.ActorStatus(
            actor=one.name, pid=one.pid, state="running" if one.name in serving else "starting", reason=STARTED_BY_HAND
        )
        for one in held_locks(context.paths.run)
    )


async def _looked_at(context: Context, found: tuple[msg.ActorStatus, ...]) -> msg.ActorList:
    """With their memory, and where they listen."""
    sizes = await SIZES.of([one.pid for one in found if one.pid])
    files = {"gateway": context.paths.gateway, "metrics": context.paths.metrics}
    addresses: dict[str, str] = {}
    for actor, file in files.items():
        with contextlib.suppress(OSError):
            addresses[actor] = file.read_text().strip()
    return msg.ActorList(
        actors=tuple(
            msgspec.structs.replace(one, pss_mib=sizes.get(one.pid, 0.0), address=addresses.get(one.actor, ""))
            for one in found
        )
    )


async def processes(lane: ControlLane) -> tuple[msg.ActorStatus, ...]:
    """The node and its children, without their memory, which takes milliseconds to find out; raises BusError."""
    rows = (await _call(lane, "actors")).get("actors", [])
    return tuple(msgspec.convert(row, msg.ActorStatus) for row in rows)


async def _lines(lane: ControlLane) -> tuple[debug.LogLine, ...]:
    """All records that the node keeps, in as many calls as that takes."""
    found: list[debug.LogLine] = []
    after = 0
    while page := (await _call(lane, "log_lines", after=after))["lines"]:
        for number, time_s, level, actor, text in page:
            found.append(debug.LogLine(time_s=time_s, level=level, actor=actor, text=text))
            after = number
    return tuple(found)


async def _set_logging(lane: ControlLane, request: debug.SetLogging) -> None:
    changes = {name: value for name in log_settings.NAMES if (value := getattr(request, name, None)) is not None}
    try:
        if request.syslog not in (None, "", log_settings.SYSLOG_LOCAL):
            changes["syslog"] = str(await _resolved(log_settings.parse_syslog(str(request.syslog))))
    except ValueError as error:
        raise InvalidError(str(error)) from error
    await _call(lane, "set_logging", changes=changes, add_filter=request.add_filter)


async def _resolved(address: log_settings.SyslogAddress) -> log_settings.SyslogAddress:
    """With the number of the host; for TCP a connection was tried. Raises ValueError with the reason.

    It is done here because a name server may keep a process waiting, which the node must not.
    """
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_STREAM if address.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await loop.getaddrinfo(address.host, address.port, type=kind)
            numeric = address._replace(host=str(found[0][4][0]))
            if kind == socket.SOCK_STREAM:
                _, writer = await asyncio.open_connection(numeric.host, numeric.port)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise ValueError(f"syslog server {address}: no answer within {CONNECT_S:g} s") from None
    except (OSError, UnicodeError) as error:
        raise ValueError(f"syslog server {address}: {_reason(error)}") from error
    return numeric


def _reason(error: OSError | UnicodeError) -> str:
    """In the kernel's words, if they are (getaddrinfo has negative numbers of its own)."""
    if not isinstance(error, OSError):
        return "is not a host name"
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)).lower()
