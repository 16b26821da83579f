"""What the fabric has to do with the host: ends of host taps there, interfaces of the host in here.

A host tap with an address is on its segment, and the host is reached from there under that address. The other doors are
shut by settings of this one interface: the host answers ARP there for no other of its addresses, takes no routes and no
addresses from there, and passes nothing on from there. What is for another of its addresses is dropped (`host_guard`).
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Final

from shims.netlink import addressing, links
from shims.netlink.links import IFF_LOOPBACK, IFF_UP, IFLA_GROUP, IFLA_IFALIAS, IFLA_IFNAME, IFLA_MASTER, Link
from shims.netlink.netlink import Netlink, NetlinkError, number, text
from shims.network import host_guard, netns
from shims.network.base import FabricError, HostPort
from shims.network.nft import Nft, NftError

SYSCTLS: Final = {
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
    "ipv4/conf/{}/rp_filter": "1",
    "ipv4/conf/{}/forwarding": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/autoconf": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/forwarding": "0",
}
"""Of the end of a host tap. Whoever wants the host to be a router for a segment sets `forwarding` there."""
NO_LINK_LOCAL: Final = ("ipv6/conf/{}/addr_gen_mode", "1")
"""Without an IPv6 address of its own the host is not there for IPv6 at all."""
_ALIAS_BYTES: Final = 255
"""IFALIASZ, without the zero byte."""
_WORD: Final = " trunk "


def mark(tag: str) -> str:
    """The alias of what is on the host and belongs to the base directory of this tag."""
    return f"minibus {tag}"


class HostEnds:
    """The host's side."""

    def __init__(self, host: Netlink, host_netns: int, tag: str) -> None:
        """`host` is a socket on the host, `host_netns` a descriptor of its network namespace."""
        self.netlink = host
        self.descriptor = host_netns
        self._tag = tag
        self._nft: Nft | None = None
        self.lack = ""
        """Why the host's other addresses are not guarded, one sentence; empty if they are."""

    # --- host taps

    def try_guard(self) -> None:
        """Find out whether the host's other addresses can be guarded, and do it for the taps that there are."""
        try:
            with netns.inside(self.descriptor):
                self._nft = Nft()
                host_guard.probe(self._nft)
        except NftError as error:
            self._nft, self.lack = None, f"{host_guard.LACK}: {error}"
        else:
            self.guard()

    def close(self) -> None:
        """Let go of nftables; the rules stay."""
        self._nft = None

    def guard(self) -> None:
        """Let what comes through the taps that there are now reach no other address of the host; raises FabricError."""
        if self._nft is None:
            return
        try:
            marked = set(self.marked())
            if host_guard.guarded(self._nft, self._tag) != (marked or None):
                host_guard.guard(self._nft, self._tag, sorted(marked))
        except NftError as error:
            raise FabricError(f"the other addresses of this host cannot be guarded: {error}") from error

    def find(self, name: str) -> Link | None:
        """The interface of the host that is called so."""
        return links.find(self.netlink, name)

    def is_own(self, name: str) -> bool:
        """Whether it is the end of a host tap."""
        found = self.find(name)
        return found is not None and found.alias == mark(self._tag)

    def dress(self, port: HostPort) -> None:
        """Give the new end its mark, its settings and addresses, and bring it up; raises OSError or ValueError."""
        self.netlink.ask(links.set_link(port.name, text(IFLA_IFALIAS, mark(self._tag))))
        self.guard()
        has_ip6 = any(":" in address for address in port.addresses)
        settings = SYSCTLS if has_ip6 else {**SYSCTLS, NO_LINK_LOCAL[0]: NO_LINK_LOCAL[1]}
        with netns.inside(self.descriptor):
            for path, value in settings.items():
                with contextlib.suppress(FileNotFoundError):  # a host without IPv6
                    Path("/proc/sys/net", path.format(port.name)).write_text(value)
        ifindex = links.named(self.netlink, port.name).ifindex
        self.netlink.ask(links.set_link(port.name, up=True))
        for address in port.addresses:
            self.netlink.ask(addressing.new_address(ifindex, address))

    def remove_marked(self) -> None:
        """Remove what carries the mark, and the rules about it; goes on past errors."""
        for name in self.marked():
            self.netlink.batch([links.delete(name)])
        with contextlib.suppress(NftError), netns.inside(self.descriptor):
            host_guard.guard(Nft(), self._tag, ())

    def marked(self) -> list[str]:
        """Interfaces of the host that are ends of host taps."""
        return [link.name for link in links.listed(self.netlink) if link.alias == mark(self._tag)]

    # --- interfaces of the host

    def carries_default_route(self, interface: str) -> bool:
        """Whether a default route leads through it, or through what is stacked on it or has it as a port."""
        found = {link.ifindex: link for link in links.listed(self.netlink)}
        names: set[str] = set()
        left = list(addressing.default_routes(self.netlink))
        while left:
            link = found.get(left.pop())
            if link is None or link.name in names:
                continue
            names.add(link.name)
            if link.lower and link.kind != "veth":  # of a veth it is the other end, which is elsewhere
                left.append(link.lower)
            left += [port.ifindex for port in found.values() if port.master == link.ifindex]
        return interface in names

    def give(self, bridge: str, interface: str, fabric_netns: int, *, force: bool) -> None:
        """Move an interface into the fabric, with a note of what it was; raises FabricError or NetlinkError."""
        link = self.find(interface)
        if link is None:
            raise FabricError(f"there is no interface {interface} on this host")
        if link.flags & IFF_LOOPBACK:
            raise FabricError(f"{interface} is the loopback interface, it leads nowhere")
        if link.master:
            raise FabricError(f"{interface} is a port of another bridge of this host; take it out there first")
        own = addressing.addresses(self.netlink, link.ifindex)
        if own and not force:
            raise FabricError(f"{interface} has the address {own[0]}, which would not be reachable any more")
        note = note_of(self._tag, bridge, bool(link.flags & IFF_UP), own)
        if len(note.encode()) > _ALIAS_BYTES:
            raise FabricError(f"{interface} has more addresses than can be kept for it: {len(own)}")
        self.netlink.ask(links.set_link(interface, text(IFLA_IFALIAS, note)))
        try:
            self.netlink.ask(links.set_link(interface, links.in_netns(fabric_netns)))
        except NetlinkError as error:
            self.netlink.batch([links.set_link(interface, text(IFLA_IFALIAS, link.alias))])
            raise FabricError(f"{interface} cannot be moved to the networks of minibus: {error.strerror}") from error

    def take_back(self, fabric: Netlink, interface: str) -> None:
        """Move it back as it was: up or down, with its addresses. Raises FabricError if it does not come back.

        One that does not exist any more is nobody's.
        """
        link = links.find(fabric, interface)
        if link is None:
            return
        _, was_up, own = read_note(link.alias) or ("", False, [])
        fabric.batch([links.set_link(interface, number(IFLA_MASTER, 0), number(IFLA_GROUP, 0), up=False)])
        try:
            name = self._move_back(fabric, interface)
        except NetlinkError as error:
            raise FabricError(f"{interface} cannot be moved back to the host: {error.strerror}") from error
        self.netlink.batch([links.set_link(name, text(IFLA_IFALIAS, ""), up=was_up)])
        ifindex = links.named(self.netlink, name).ifindex
        self.netlink.batch([addressing.new_address(ifindex, address) for address in own])

    def _move_back(self, fabric: Netlink, interface: str) -> str:
        """Returns the name it has on the host: another one if somebody else has its own meanwhile."""
        try:
            fabric.ask(links.set_link(interface, links.in_netns(self.descriptor)))
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
        else:
            return interface
        name = next(name for n in range(1000) if self.find(name := f"mbback{n}") is None)
        fabric.ask(links.set_link(interface, text(IFLA_IFNAME, name)))
        fabric.ask(links.set_link(name, links.in_netns(self.descriptor)))
        return name


def note_of(tag: str, bridge: str, was_up: bool, addresses: list[str]) -> str:
    """The alias of an interface of the host while it is a trunk."""
    return f"{mark(tag)}{_WORD}{bridge} {'up' if was_up else 'down'} {' '.join(addresses)}".rstrip()


def read_note(alias: str) -> tuple[str, bool, list[str]] | None:
    """Bridge, whether it was up, addresses; None if it is no such note."""
    _, found, rest = alias.partition(_WORD)
    words = rest.split()
    if not found or len(words) < 2:
        return None
    return words[0], words[1] == "up", words[2:]
