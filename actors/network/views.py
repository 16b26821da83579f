"""Answers to questions: the table, joined with what was last seen of each port."""

from __future__ import annotations

from collections.abc import Mapping

from actors.network.plugs.taps import host_tap
from actors.network.rates import Rate, together
from actors.network.table import NetworkTable, Nic
from bus.messages import network as msg
from shims.network.base import Addresses

NONE = Rate()
UNSEEN = Addresses()


def interfaces(
    table: NetworkTable, namespace: str, rates: Mapping[str, Rate], addresses: Mapping[str, Addresses]
) -> msg.InterfaceList:
    """Those of the VMs of a namespace."""
    guests = tuple(
        msg.GuestInterfaces(
            vm_id=vm_id,
            name=guest.name,
            interfaces=tuple(
                _interface(nic, rates.get(nic.tap, NONE), addresses.get(nic.tap, UNSEEN)) for nic in guest.nics
            ),
        )
        for vm_id, guest in sorted(table.guests.items())
        if guest.namespace == namespace
    )
    return msg.InterfaceList(guests=guests)


def _interface(nic: Nic, rate: Rate, seen: Addresses) -> msg.Interface:
    return msg.Interface(
        tap=nic.tap,
        bridge=nic.bridge,
        vlan=nic.vlan,
        mac=nic.mac,
        driver=nic.driver,
        ip=seen.ip if nic.is_up else "",
        ip6=seen.ip6 if nic.is_up else "",
        shaping=nic.shaping,
        rx_mbps=rate.rx_mbps,
        tx_mbps=rate.tx_mbps,
        is_up=nic.is_up,
    )


def all_rates(table: NetworkTable, rates: Mapping[str, Rate]) -> msg.Rates:
    """Of each VM with traffic, and of all ports together."""
    vms = []
    for vm_id, guest in sorted(table.guests.items()):
        found = [rates[nic.tap] for nic in guest.nics if nic.tap in rates]
        if found:
            rate = together(found)
            vms.append(msg.GuestRates(vm_id=vm_id, rx_mbps=rate.rx_mbps, tx_mbps=rate.tx_mbps))
    total = together(rates.values())
    return msg.Rates(vms=tuple(vms), rx_mbps=total.rx_mbps, tx_mbps=total.tx_mbps)


def mirrors(table: NetworkTable, namespace: str) -> msg.Mirrors:
    """Those of a namespace."""
    found = (one for _, one in sorted(table.mirrors.items()) if one.namespace == namespace)
    return msg.Mirrors(mirrors=tuple(msg.Mirror(source=one.source, destination=one.destination) for one in found))


def host_taps(table: NetworkTable, namespace: str) -> msg.HostTaps:
    """Those of a namespace."""
    found = [tap for tap in table.taps.values() if tap.namespace == namespace]
    return msg.HostTaps(taps=tuple(host_tap(table, tap) for tap in sorted(found, key=lambda tap: tap.name)))


def bridges(table: NetworkTable) -> msg.Bridges:
    """Those that something is plugged into now."""
    vlans: dict[str, set[int]] = {}
    for _, _, nic in table.places():
        if nic.is_up and nic.bridge:
            vlans.setdefault(nic.bridge, set()).add(nic.vlan)
    for tap in table.taps.values():
        vlans.setdefault(tap.segment.bridge, set()).add(tap.segment.vlan)
    trunks: dict[str, list[str]] = {}
    for interface, bridge in sorted(table.trunks.items()):
        trunks.setdefault(bridge, []).append(interface)
    return msg.Bridges(
        bridges=tuple(
            msg.BridgeInfo(name=name, vlans=tuple(sorted(vlans.get(name, ()))), trunks=tuple(trunks.get(name, ())))
            for name in sorted({*vlans, *trunks})
        ),
        kept=tuple(sorted({nic.vlan for _, _, nic in table.places() if nic.bridge and not nic.is_up})),
    )


def bridges_file(table: NetworkTable) -> str:
    """The file `bridges` of the base directory, as minimega's `nuke` and users' scripts know it."""
    rows = [(one.name, "false", f"[{' '.join(map(str, one.vlans))}]") for one in bridges(table).bridges]
    return _text([("Bridge", "Existed before minimega", "Active VLANS"), *rows])


def taps_file(table: NetworkTable) -> str:
    """The file `taps`: host taps of all namespaces."""
    taps = sorted(table.taps.values(), key=lambda tap: tap.name)
    return _text([("Bridge", "Tap", "VLAN"), *((tap.segment.bridge, tap.name, str(tap.segment.vlan)) for tap in taps)])


def _text(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (" ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
