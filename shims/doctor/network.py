"""The section of networks, which containers do not have yet: what the kernel offers for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shims.doctor import tries
from shims.doctor.feature import Feature, Section, State, is_present
from shims.doctor.modules import Module, Modules

_YET: Final = "once containers have networks"


class Wanted(NamedTuple):
    """A feature of the kernel's networks."""

    module: str
    attempt: tries.Try
    costs: str
    option: str
    """Of the kernel's configuration, without CONFIG_."""


def _nft(number: int, option: str = "NF_TABLES") -> Wanted:
    return Wanted("nf_tables", tries.nft_table(number), "rules for networks", option)


_VLANS: Final[dict[str, Any]] = {"br_vlan_filtering": 1}
WANTED: Final[dict[str, Wanted]] = {
    "bridge": Wanted("bridge", tries.link("bridge"), "networks", "BRIDGE"),
    "veth": Wanted("veth", tries.link("veth", peer="mb-peer"), "interfaces of containers", "VETH"),
    "tun": Wanted("tun", tries.tap("/dev/net/tun"), "interfaces of virtual machines", "TUN"),
    "bridge vlan_filtering": Wanted(
        "bridge",
        tries.link("bridge", **_VLANS),
        "single bridge for many VLANs, so each gets one of its own",
        "BRIDGE_VLAN_FILTERING",
    ),
    "vxlan": Wanted(
        "vxlan", tries.link("vxlan", vxlan_id=1, vxlan_port=4789), "networks across several hosts", "VXLAN"
    ),
    "tbf": Wanted(
        "sch_tbf", tries.qdisc("tbf", rate=1_000_000, burst=10_000, latency=100_000), "limits of rate", "NET_SCH_TBF"
    ),
    "netem": Wanted("sch_netem", tries.qdisc("netem", delay=1000), "delay, loss and corruption", "NET_SCH_NETEM"),
    "nftables ip": _nft(2, "NF_TABLES_IPV4"),
    "nftables ip6": _nft(10, "NF_TABLES_IPV6"),
    "nftables inet": _nft(1, "NF_TABLES_INET"),
    "nftables arp": _nft(3, "NF_TABLES_ARP"),
    "nftables bridge": _nft(7, "NF_TABLES_BRIDGE"),
    "nftables netdev": _nft(5, "NF_TABLES_NETDEV"),
}
"""By name; the numbers are those of NFPROTO_* in include/uapi/linux/netfilter.h."""


def attempts(modules: Modules) -> dict[str, tries.Try]:
    """What to try: all that can load no module."""
    return {name: wanted.attempt for name, wanted in WANTED.items() if not modules.can_load(wanted.module)}


def judge(modules: Modules, tried: Mapping[str, str], why_not: str) -> list[Feature]:
    """The features; `why_not` says why something that there was to be tried may not be in `tried`."""
    return [
        _judged(name, wanted, modules.state(wanted.module), tried.get(name), why_not) for name, wanted in WANTED.items()
    ]


def _judged(name: str, wanted: Wanted, module: Module, outcome: str | None, why_not: str) -> Feature:
    if module is Module.LOADABLE:
        state, found = State.OK, f"the module {wanted.module}, loaded with its first use"
    elif module is Module.PERHAPS:
        state, found = State.UNKNOWN, f"not looked at: that could load the module {wanted.module}"
    elif outcome is None:
        state, found = State.UNKNOWN, why_not
    else:
        state, found = is_present(not outcome), f"refused: {outcome}" if outcome else ""
    return Feature(
        section=Section.NETWORK,
        name=name,
        state=state,
        found=found,
        costs=f"{wanted.costs}, {_YET}",
        advice=f"boot a kernel with CONFIG_{wanted.option}",
        minor=True,
    )
