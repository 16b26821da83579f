"""Which dnsmasq servers there are and what they know. Requests about them wait for no operation in the kernel. Pure."""

from __future__ import annotations

from actors.network.services.server_checks import MAX_SERVERS, configure_problem, key_of, start_problem
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
from bus.actor.step import Effect, Fail, Input, Received, Reply
from bus.messages.base import Ack, Message
from bus.messages.dnsmasq import (
    EVERY,
    ConfigureDnsmasq,
    Dnsmasq,
    Dnsmasqs,
    KillDnsmasqs,
    StartDnsmasq,
    UnconfigureDnsmasq,
)

REQUESTS = (StartDnsmasq, KillDnsmasqs, ConfigureDnsmasq, UnconfigureDnsmasq)
INVALID_ID = "invalid dnsmasq ID"


def received(table: ServerTable, inp: Received) -> list[Effect]:
    """A request about servers."""
    match inp.body:
        case StartDnsmasq():
            return _start(table, inp, inp.body)
        case KillDnsmasqs(id=id_):
            return _kill(table, inp.msg_id, id_)
        case ConfigureDnsmasq():
            return _configure(table, inp, inp.body)
        case UnconfigureDnsmasq():
            return _unconfigure(table, inp, inp.body)
        case _:
            raise TypeError(f"{type(inp.body).__name__} is not about servers")


def took(table: ServerTable, inp: Input) -> list[Effect]:
    """What came of an effect."""
    match inp:
        case ServerUp():
            return _up(table, inp)
        case ServerFailed():
            return _failed(table, inp)
        case ServerGone(id=id_, pid=pid):
            server = table.servers.get(id_)
            if server is None or server.pid != pid or server.is_ending:
                return []
            server.pid = -1
            return [ServerLost(id=id_, pid=pid)]
        case ServersEnded(ids=ids):
            return [effect for id_ in ids for effect in _forget(table, id_)]
        case OptionChecked():
            return _checked(table, inp)
        case _:
            raise TypeError(f"{type(inp).__name__} is not about servers")


def recovered(table: ServerTable) -> list[Effect]:
    """What was under way is done again; what served may have ended meanwhile."""
    effects: list[Effect] = []
    ending = tuple(server.id for server in table.servers.values() if server.is_ending and not server.starting)
    for server in table.servers.values():
        if server.starting:
            effects.append(StartServer(id=server.id))
        elif not server.is_ending and server.pid > 0:
            effects.append(FollowServer(id=server.id))
    for msg_id, body in table.checks.items():
        effects.append(CheckOption(msg_id=msg_id, option=body.option))
    return [*effects, EndServers(ids=ending)] if ending else effects


def end_on(table: ServerTable, interface: str) -> list[Effect]:
    """The interface goes, and with it the servers on it."""
    return _end(table, [server.id for server in table.servers.values() if server.interface == interface])


def listed(table: ServerTable) -> Dnsmasqs:
    """Those that serve, or served until they ended by themselves."""
    found = (server for server in table.servers.values() if not server.starting and not server.is_ending)
    return Dnsmasqs(servers=tuple(map(_shown, found)))


def _shown(server: Server) -> Dnsmasq:
    return Dnsmasq(
        id=server.id,
        address=server.address,
        low=server.low,
        high=server.high,
        config=server.config,
        path=server.path,
        pid=server.pid,
        fixed=dict(server.fixed),
        names=dict(server.names),
        options=tuple(server.options),
        upstream=server.upstream,
    )


# --- beginning and end


def _start(table: ServerTable, inp: Received, body: StartDnsmasq) -> list[Effect]:
    others = [
        (one.id, one.address, one.low, one.high) for one in table.servers.values() if not one.is_ending and one.pid >= 0
    ]
    if problem := start_problem(body, others):
        return [Fail(msg_id=inp.msg_id, code="invalid", message=problem)]
    if len(table.servers) >= MAX_SERVERS:
        sentence = f"there are {MAX_SERVERS} dnsmasq servers already: `dnsmasq kill` ends one"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    server = Server(
        id=table.next_id,
        directory=f"dnsmasq_{inp.seed % 10**9:09d}",
        address=body.address,
        low=body.low,
        high=body.high,
        config=body.config,
        starting=inp.msg_id,
    )
    table.next_id += 1
    table.servers[server.id] = server
    return [StartServer(id=server.id)]


def _up(table: ServerTable, inp: ServerUp) -> list[Effect]:
    server = table.servers.get(inp.id)
    if server is None:
        return []
    msg_id, server.starting = server.starting, ""
    server.pid, server.ticks = inp.pid, inp.ticks
    server.path, server.interface, server.network = inp.path, inp.interface, inp.network
    if server.is_ending:
        sentence = f"dnsmasq {server.id} was ended while it started"
        return [Fail(msg_id=msg_id, code="conflict", message=sentence), EndServers(ids=(server.id,))]
    return [Reply(msg_id=msg_id, body=Dnsmasqs(servers=(_shown(server),)))]


def _failed(table: ServerTable, inp: ServerFailed) -> list[Effect]:
    server = table.servers.get(inp.id)
    if server is None:
        return []
    if inp.id == table.next_id - 1:
        table.next_id -= 1  # nobody has seen this number
    failure: list[Effect] = [Fail(msg_id=server.starting, code="unavailable", message=inp.message)]
    return failure + _forget(table, inp.id)


def _kill(table: ServerTable, msg_id: str, id_: int) -> list[Effect]:
    if id_ != EVERY and id_ not in table.servers:
        return [Fail(msg_id=msg_id, code="not_found", message=f"invalid id: there is no dnsmasq {id_}")]
    ids = list(table.servers) if id_ == EVERY else [id_]
    if not ids:
        return [Reply(msg_id=msg_id, body=Ack())]
    table.kills[msg_id] = ids
    return _end(table, ids)


def _end(table: ServerTable, ids: list[int]) -> list[Effect]:
    """One that still starts is ended when it has."""
    new = [table.servers[id_] for id_ in ids if not table.servers[id_].is_ending]
    for server in new:
        server.is_ending = True
    now = tuple(server.id for server in new if not server.starting)
    return [EndServers(ids=now)] if now else []


def _forget(table: ServerTable, id_: int) -> list[Effect]:
    table.servers.pop(id_, None)
    for ids in table.kills.values():
        if id_ in ids:
            ids.remove(id_)
    done = [msg_id for msg_id, ids in table.kills.items() if not ids]
    for msg_id in done:
        del table.kills[msg_id]
    return [Reply(msg_id=msg_id, body=Ack()) for msg_id in done]


# --- what they know


def _meant(table: ServerTable, id_: int) -> list[Server]:
    """Those that serve; of which one was named all that there is."""
    found = [server for server in table.servers.values() if not server.starting and not server.is_ending]
    return found if id_ == EVERY else [server for server in found if server.id == id_]


def _configure(table: ServerTable, inp: Received, body: ConfigureDnsmasq) -> list[Effect]:
    servers = _meant(table, body.id)
    if not servers and body.id != EVERY:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=INVALID_ID)]
    known = [(one.id, one.network, one.fixed, one.names, one.options) for one in servers]
    if problem := configure_problem(body, known):
        return [Fail(msg_id=inp.msg_id, code="invalid", message=problem)]
    if body.option:
        table.checks[inp.msg_id] = body
        return [CheckOption(msg_id=inp.msg_id, option=body.option)]
    return _changed(inp.msg_id, servers, body)


def _checked(table: ServerTable, inp: OptionChecked) -> list[Effect]:
    body = table.checks.pop(inp.msg_id, None)
    if body is None:
        return []
    if inp.problem:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=inp.problem)]
    return _changed(inp.msg_id, _meant(table, body.id), body)


def _changed(msg_id: str, servers: list[Server], body: ConfigureDnsmasq) -> list[Effect]:
    for server in servers:
        if body.mac:
            server.fixed[key_of(body.mac)] = body.ip
        elif body.name:
            server.names[body.ip] = body.name
        elif body.option and body.option not in server.options:
            server.options.append(body.option)
        elif body.upstream:
            server.upstream = body.upstream
    return _written(msg_id, servers)


def _written(msg_id: str, servers: list[Server]) -> list[Effect]:
    reply: Message = Ack()
    return [WriteServers(ids=tuple(server.id for server in servers)), Reply(msg_id=msg_id, body=reply)]


def _unconfigure(table: ServerTable, inp: Received, body: UnconfigureDnsmasq) -> list[Effect]:
    servers = _meant(table, body.id)
    if not servers and body.id != EVERY:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=INVALID_ID)]
    if body.kind not in ("ip", "dns", "options", "upstream"):
        sentence = "what can be removed is `ip`, `dns`, `options` or `upstream`"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    found = [_without(server, body.kind, body.entry) for server in servers]
    if body.entry and not any(found):
        sentence = f"there is no such entry: {body.entry[:64]}"
        return [Fail(msg_id=inp.msg_id, code="not_found", message=sentence)]
    return _written(inp.msg_id, servers)


def _without(server: Server, kind: str, entry: str) -> bool:
    """Take one entry away, or all of a kind; returns whether there was such a one."""
    if kind == "upstream":
        had, server.upstream = bool(server.upstream), ""
        return had
    if kind == "options":
        before = len(server.options)
        server.options = [option for option in server.options if entry and option != entry]
        return len(server.options) < before
    entries = server.fixed if kind == "ip" else server.names
    gone = [key for key in entries if not entry or key == (key_of(entry) if kind == "ip" else entry)]
    for key in gone:
        del entries[key]
    return bool(gone)
