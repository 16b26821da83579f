"""Every message of the bus; importing this package makes them all known to the codec."""

from bus.messages import (
    cc,
    cli,
    console,
    control,
    debug,
    files,
    guest,
    host,
    namespace,
    network,
    pipe,
    pipeline,
    schedule,
    tunnel,
    vlan,
    vm,
)

__all__ = [
    "cc",
    "cli",
    "console",
    "control",
    "debug",
    "files",
    "guest",
    "host",
    "namespace",
    "network",
    "pipe",
    "pipeline",
    "schedule",
    "tunnel",
    "vlan",
    "vm",
]
