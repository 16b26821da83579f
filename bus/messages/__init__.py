"""Every message of the bus; importing this package makes them all known to the codec."""

from bus.messages import (
    cc,
    console,
    control,
    debug,
    dnsmasq,
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
    "console",
    "control",
    "debug",
    "dnsmasq",
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
