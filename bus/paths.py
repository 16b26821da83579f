"""The layout of a base directory, and the tag that marks everything on the host that belongs to it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from bus.errors import InvalidError

DURABLE = "MINIBUS_DURABLE"
"""Environment variable that carries `minibus up --durable` to the processes of the node."""
FILES = "MINIBUS_FILES"
"""Environment variable: the file area, if it is not `<base>/files`."""
START_FLAGS = "MINIBUS_FLAGS"
"""Environment variable that carries what a node was started with to those who show it: a JSON object of strings."""
CONSOLE_ADDRESS = "MINIBUS_CONSOLE_ADDRESS"
"""Environment variable: at which IP address the TCP ports of consoles are, if not at `LOOPBACK`; `none`: at none."""
LOOPBACK = "127.0.0.1"
NO_ADDRESS = "none"
DEFAULT_BASE = "/var/lib/minibus"
MAX_BASE = 80
"""Bytes: a unix socket's path holds 107 (unix(7)), and the longest of ours adds about 25."""


def base_tag(base: Path) -> str:
    """Four characters of [a-z2-7] that name this base directory in cgroups and device names."""
    digest = hashlib.sha256(os.fsencode(base)).digest()
    return base64.b32encode(digest)[:4].decode("ascii").lower()


class Paths(NamedTuple):
    """Where things are below a base directory."""

    base: Path

    @property
    def bus(self) -> Path:
        """The endpoints; mode 0700, or 0750 if they are shared with a group."""
        return self.base / "bus"

    @property
    def requests(self) -> Path:
        """Connect a DEALER."""
        return self.bus / "requests"

    @property
    def events(self) -> Path:
        """Connect a SUB."""
        return self.bus / "events"

    @property
    def publish(self) -> Path:
        """Connect a PUB."""
        return self.bus / "publish"

    @property
    def run(self) -> Path:
        """Lock files and the warden's socket."""
        return self.base / "run"

    @property
    def state(self) -> Path:
        """Journals and snapshots, a directory an actor."""
        return self.base / "state"

    @property
    def log(self) -> Path:
        """What a detached node and its actors say on stderr."""
        return self.base / "log" / "minibus.log"

    @property
    def metrics(self) -> Path:
        """Where the endpoint for Prometheus listens, as `ADDRESS:PORT`; there while it does."""
        return self.run / "metrics"

    @property
    def vlans(self) -> Path:
        """All VLAN aliases, for other programs to read."""
        return self.base / "vlans"

    @property
    def gateway(self) -> Path:
        """Where the gateway listens, as `tcp://ADDRESS:PORT`; there while it does."""
        return self.run / "gateway"

    @property
    def keys(self) -> Path:
        """Keys of the gateway and its clients; mode 0700."""
        return self.base / "keys"

    @property
    def files(self) -> Path:
        """The file area, unless `Context.files_dir` says otherwise."""
        return self.base / "files"

    @property
    def command_socket(self) -> Path:
        """minimega's JSON protocol."""
        return self.base / "minimega"


class Context(NamedTuple):
    """What an actor is told about where it runs."""

    base: Path
    host: str
    tag: str
    files_dir: Path
    durable: bool = False
    """Nothing is answered before the disk has it; otherwise a power loss can take the last tenth of a second."""

    @property
    def paths(self) -> Paths:
        """The layout of the base directory."""
        return Paths(self.base)


def start_flags() -> dict[str, str]:
    """Name to value of the flags that this process's node was started with; empty if nobody noted them."""
    try:
        flags = json.loads(os.environ.get(START_FLAGS, "{}"))
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in flags.items()} if isinstance(flags, dict) else {}


def console_address() -> str:
    """Where the TCP ports of consoles are: an IP address or `none`."""
    return os.environ.get(CONSOLE_ADDRESS) or LOOPBACK


def host_name() -> str:
    """The name of this host in addresses: the kernel's node name up to the first dot."""
    return socket.gethostname().partition(".")[0] or "localhost"


def context(base: Path) -> Context:
    """Everything that follows from a base directory; raises InvalidError if its path is too long."""
    base = base.absolute()
    if len(os.fsencode(base)) > MAX_BASE:
        raise InvalidError(f"base directory is longer than {MAX_BASE} bytes, more than a unix socket can have: {base}")
    return Context(
        base=base,
        host=host_name(),
        tag=base_tag(base),
        files_dir=Path(os.environ.get(FILES) or Paths(base).files).absolute(),
        durable=os.environ.get(DURABLE, "") not in ("", "0"),
    )
