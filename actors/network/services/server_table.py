"""What the network actor knows of dnsmasq servers, what is to be done about them, and what came of it."""

from __future__ import annotations

import msgspec

from bus.actor.step import Effect, Input
from bus.messages.dnsmasq import ConfigureDnsmasq


class Server(msgspec.Struct, kw_only=True):
    """One of them, from its request until it has been ended."""

    id: int
    directory: str
    """Name of its directory below the base directory; its processes carry it as well."""
    address: str = ""
    low: str = ""
    high: str = ""
    config: str = ""
    starting: str = ""
    """Id of the request that is not answered yet; empty once it serves."""
    is_ending: bool = False
    pid: int = 0
    """-1 if it has ended by itself."""
    ticks: int = 0
    path: str = ""
    """Of its directory."""
    interface: str = ""
    network: str = ""
    fixed: dict[str, str] = {}
    names: dict[str, str] = {}
    options: list[str] = []
    upstream: str = ""


class ServerTable(msgspec.Struct, kw_only=True):
    """All of them."""

    servers: dict[int, Server] = {}
    next_id: int = 0
    kills: dict[str, list[int]] = {}
    """Requests that wait for the end of servers."""
    checks: dict[str, ConfigureDnsmasq] = {}
    """Requests whose option is being looked at."""


# --- inputs: what came of effects


class ServerUp(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.server_up"):
    """A server serves."""

    id: int
    pid: int
    ticks: int
    path: str
    interface: str = ""
    network: str = ""


class ServerFailed(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.server_failed"):
    """A server does not serve, and nothing of it is left."""

    id: int
    message: str


class ServerGone(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.server_gone"):
    """A server has ended by itself."""

    id: int
    pid: int


class ServersEnded(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.servers_ended"):
    """These have been ended, and their files removed."""

    ids: tuple[int, ...]


class OptionChecked(Input, frozen=True, kw_only=True, omit_defaults=True, tag="network.option_checked"):
    """What dnsmasq thinks of an option; `problem` is empty if it will do."""

    msg_id: str
    problem: str = ""


RESULTS = (ServerUp, ServerFailed, ServerGone, ServersEnded, OptionChecked)


# --- effects


class StartServer(Effect, frozen=True, kw_only=True):
    """Start it, after ending what an earlier attempt has left; comes back as `ServerUp` or `ServerFailed`."""

    id: int


class EndServers(Effect, frozen=True, kw_only=True):
    """End these and remove their files; comes back as `ServersEnded`."""

    ids: tuple[int, ...]


class FollowServer(Effect, frozen=True, kw_only=True):
    """Watch a server that an earlier process of this actor has started, and have it know what it should."""

    id: int


class WriteServers(Effect, frozen=True, kw_only=True):
    """Write the files of these and have them read."""

    ids: tuple[int, ...]


class CheckOption(Effect, frozen=True, kw_only=True):
    """Ask dnsmasq what it thinks of an option; comes back as `OptionChecked`."""

    msg_id: str
    option: str


class ServerLost(Effect, frozen=True, kw_only=True):
    """Write to the log that a server has ended by itself."""

    id: int
    pid: int
