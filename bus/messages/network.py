"""Networks of one host: interfaces of guests, host taps, bridges, shaping. Owned by the actor `network`.

A *segment* is one VLAN of one bridge name. What is plugged into the same segment hears each other, and nothing else
does. The kernel devices are in a network namespace of minibus's own, `minibus_<tag>`; only host taps have an end on
the host itself.
"""

from __future__ import annotations

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request

DEFAULT_BRIDGE = "mega_bridge"


class Netspec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interface as configured; `bus.language.netspec` reads and prints it."""

    bridge: str = DEFAULT_BRIDGE
    vlan: int
    """0 to 4095, or `bus.messages.vlan.DISCONNECTED`."""
    alias: str = ""
    """The fully qualified alias that was typed; empty where it was a number."""
    mac: str = ""
    """Lower case with colons; empty: made at the launch."""
    driver: str = ""
    """Model of the card of a KVM guest; empty: the default."""


MAX_RATE_BPS = 100_000_000_000
MAX_DELAY_US = 240_000_000
MAX_JITTER_US = 2_000_000
"""More makes some kernels divide by zero."""


class Shaping(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What traffic towards an interface goes through; 0 means no such constraint."""

    rate_bps: int = 0
    """Bits a second."""
    rate_text: str = ""
    """As typed, e.g. `10mbit`."""
    delay_us: int = 0
    jitter_us: int = 0
    """How much the delay varies, either way."""
    loss_percent: float = 0.0
    corrupt_percent: float = 0.0


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interface of a guest."""

    tap: str
    """Name of its device in minibus's network namespace."""
    bridge: str = ""
    """Empty while it is disconnected."""
    vlan: int
    mac: str
    driver: str = ""
    ip: str = ""
    """The last IPv4 address that was seen in use behind it; empty if none was."""
    ip6: str = ""
    shaping: Shaping = Shaping()
    rx_mbps: float = 0.0
    """From the guest's point of view, in MiB a second, weighted: the last seconds count most."""
    tx_mbps: float = 0.0
    is_up: bool = False
    """Whether the device exists: it does while a guest lives."""


class GuestNic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guest that is to be plugged in."""

    vm_id: int
    name: str
    namespace: str
    pid: int = 0
    """A process in the network namespace in which the other ends appear as veth0, veth1, ..."""
    networks: tuple[Netspec, ...] = ()
    configured: tuple[Netspec, ...] = ()
    """With further interfaces: those that it was configured with, which come first if it was never plugged in."""


class Plugged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one guest's interfaces; `error` is one sentence, empty on success."""

    vm_id: int
    error: str = ""
    taps: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    networks: tuple[Netspec, ...] = ()
    """Its interfaces as they are now, with their hardware addresses."""
    revision: int = 0
    """Grows with every change of an interface of the host: what has a smaller one is older."""
    warnings: tuple[str, ...] = ()


class PlugReport(Message, frozen=True, kw_only=True, tag="network.plug_report"):
    """One entry per guest asked for."""

    guests: tuple[Plugged, ...]


class PlugGuests(Request[PlugReport], frozen=True, kw_only=True, tag="network.plug"):
    """Make the interfaces of guests that exist and do not run yet; of one guest all or none. Sent by `vm`.

    The first time a VM is plugged in, its interfaces get names and MAC addresses, which they keep until it is
    forgotten; at a relaunch they come back as they were last, `networks` does not count then.
    """

    guests: tuple[GuestNic, ...]


class UnplugGuests(Request[PlugReport], frozen=True, kw_only=True, tag="network.unplug"):
    """Remove the devices of guests that have ended; their names, addresses and VLANs are kept for a relaunch.

    Unknown or unplugged guests are no error. Answered when the kernel has none of the devices any more.
    """

    vm_ids: tuple[int, ...]


class ForgetGuestNics(Request[Ack], frozen=True, kw_only=True, tag="network.forget"):
    """These VMs are flushed: devices and records go."""

    vm_ids: tuple[int, ...]


class GuestInterfaces(msgspec.Struct, frozen=True, kw_only=True):
    """The interfaces of one VM, by index."""

    vm_id: int
    name: str
    interfaces: tuple[Interface, ...]


class InterfaceList(Message, frozen=True, kw_only=True, tag="network.interfaces"):
    """VMs that have interfaces, by id."""

    guests: tuple[GuestInterfaces, ...]


class GetInterfaces(Query[InterfaceList], frozen=True, kw_only=True, tag="network.interfaces.get"):
    """Interfaces of the VMs of the envelope's namespace on this host."""


class InterfaceReport(Message, frozen=True, kw_only=True, omit_defaults=True, tag="network.report"):
    """`errors` are sentences for the user, one per VM that failed; `warnings` say what the kernel could not do."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ConnectInterfaces(Request[InterfaceReport], frozen=True, kw_only=True, omit_defaults=True, tag="network.connect"):
    """Move interface `index` of each VM to a segment, or unplug it (`vlan` = DISCONNECTED).

    What is known of the interface (addresses, rates, shaping) stays. Works whether or not the guest lives.
    """

    vms: tuple[GuestNic, ...]
    """Without `networks`."""
    index: int
    vlan: int
    alias: str = ""
    """As in `Netspec`."""
    bridge: str = ""
    """Empty: the present one, or the default if it is disconnected."""


class AddInterfaces(Request[InterfaceReport], frozen=True, kw_only=True, tag="network.add"):
    """Give each VM these further interfaces; a living container sees them at once."""

    vms: tuple[GuestNic, ...]


class ShapeInterfaces(Request[InterfaceReport], frozen=True, kw_only=True, omit_defaults=True, tag="network.shape"):
    """Change the constraints of interface `index`, or of all (-1), of each VM.

    Only the fields that are set count, others stay as they are; `clear` first removes all. If the kernel refuses, what
    was in force before stays in force.
    """

    vms: tuple[GuestNic, ...]
    index: int = -1
    shaping: Shaping = Shaping()
    without: tuple[str, ...] = ()
    """Names of fields of `Shaping`: these constraints go."""
    clear: bool = False


class HostTap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interface of the host that is plugged into a segment."""

    name: str
    namespace: str
    bridge: str
    vlan: int
    address: str = ""
    """With prefix length, as it was given or leased."""
    mirror_of: str = ""
    """Tap whose traffic is copied to this one."""


class HostTaps(Message, frozen=True, kw_only=True, tag="network.taps"):
    """By name."""

    taps: tuple[HostTap, ...]


class GetHostTaps(Query[HostTaps], frozen=True, kw_only=True, tag="network.taps.get"):
    """Host taps of the envelope's namespace."""


class CreateTap(Request[HostTaps], frozen=True, kw_only=True, omit_defaults=True, tag="network.tap.create"):
    """Make a host tap, up, in the envelope's namespace; it is the reply, and there whole or not at all."""

    vlan: int
    bridge: str = DEFAULT_BRIDGE
    name: str = ""
    """Empty: the next free `mega_tapN`."""
    address: str = ""
    """An IPv4 or IPv6 address with prefix length."""
    dhcp: bool = False


class DeleteTaps(Request[InterfaceReport], frozen=True, kw_only=True, omit_defaults=True, tag="network.tap.delete"):
    """Remove one host tap of the envelope's namespace, or all; mirrors that end in them go as well."""

    name: str


class MirrorTap(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.mirror"):
    """Copy all that passes through one tap, in both directions, to another one on the same bridge."""

    source: str
    destination: str
    bridge: str = ""
    """That both have to be on; empty: any."""


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """What passes through one tap is copied to another."""

    source: str
    destination: str


class Mirrors(Message, frozen=True, kw_only=True, tag="network.mirrors"):
    """By destination."""

    mirrors: tuple[Mirror, ...]


class GetMirrors(Query[Mirrors], frozen=True, kw_only=True, tag="network.mirrors.get"):
    """Mirrors of the envelope's namespace."""


class ClearMirrors(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.mirror.clear"):
    """End the mirror that ends in this tap, or all of the envelope's namespace."""

    destination: str = ""


class BridgeInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bridge name in use."""

    name: str
    vlans: tuple[int, ...] = ()
    """In use, sorted."""
    trunks: tuple[str, ...] = ()


class Bridges(Message, frozen=True, kw_only=True, omit_defaults=True, tag="network.bridges"):
    """By name."""

    bridges: tuple[BridgeInfo, ...] = ()
    kept: tuple[int, ...] = ()
    """VLANs into which interfaces of guests that have ended will be plugged when those are launched again, sorted."""


class GetBridges(Query[Bridges], frozen=True, kw_only=True, tag="network.bridges.get"):
    """Which bridges are in use on this host? Those of all namespaces."""


class TrunkBridge(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="network.trunk"):
    """Plug an interface of the host into a bridge, where it carries all VLANs with tags, or take it out again.

    `conflict` for the interface of the default route, unless forced: the host would lose its connection.
    """

    bridge: str
    interface: str
    remove: bool = False
    force: bool = False


class EndNetworks(Request[Ack], frozen=True, kw_only=True, tag="network.end"):
    """Remove all that belongs to the envelope's namespace: host taps, mirrors, interfaces. May be repeated."""


class GuestRates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of all interfaces of one VM together, from its point of view, in MiB a second."""

    vm_id: int
    rx_mbps: float = 0.0
    tx_mbps: float = 0.0


class Rates(Message, frozen=True, kw_only=True, omit_defaults=True, tag="network.rates"):
    """Traffic of this host, weighted: the last seconds count most."""

    vms: tuple[GuestRates, ...] = ()
    """Of VMs with interfaces, by id; those without traffic are left out."""
    rx_mbps: float = 0.0
    """Of all of them together, as is `tx_mbps`."""
    tx_mbps: float = 0.0


class GetRates(Query[Rates], frozen=True, kw_only=True, tag="network.rates.get"):
    """How much traffic is there?"""


class NetworkEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="network.event"):
    """Base of the events on `net/<namespace>/<what>/`."""

    tap: str
    bridge: str = ""
    vlan: int = -1
    vm: str = ""
    """Name of the VM; empty for a host tap."""
    index: int = -1


class InterfaceConnected(NetworkEvent, frozen=True, kw_only=True, omit_defaults=True, tag="network.connected"):
    """An interface is plugged into a segment from now on."""


class InterfaceDisconnected(NetworkEvent, frozen=True, kw_only=True, omit_defaults=True, tag="network.disconnected"):
    """An interface is plugged in nowhere any more."""


class InterfaceRepaired(NetworkEvent, frozen=True, kw_only=True, omit_defaults=True, tag="network.repaired"):
    """The kernel's state was not what it should be and has been mended; `what` says how."""

    what: str = ""
