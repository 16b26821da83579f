"""The section of networks: what the kernel offers for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shims.doctor import tries
from shims.doctor.feature import Feature, Section, State, is_present
from shims.doctor.modules import Module, Modules


class Wanted(NamedTuple):
    """A feature of the kernel's networks."""

    module: str
    attempt: tries.Try
    costs: str
    option: str
    """Of the kernel's configuration, without CONFIG_."""
    minor: bool = True


_VLANS: Final[dict[str, Any]] = {"br_vlan_filtering": 1}
_NFPROTO_BRIDGE: Final = 7
_NFPROTO_NETDEV: Final = 5
WANTED: Final[dict[str, Wanted]] = {
    "bridge": Wanted("bridge", tries.link("bridge"), "networks", "BRIDGE", minor=False),
    "veth": Wanted("veth", tries.link("veth", peer="mb-peer"), "interfaces of containers", "VETH", minor=False),
    "bridge vlan_filtering": Wanted(
        "bridge",
        tries.link("bridge", **_VLANS),
        "single bridge for many VLANs, so each gets one of its own",
        "BRIDGE_VLAN_FILTERING",
    ),
    "cls_bpf": Wanted(
        "cls_bpf",
        tries.tagging,
        "ports of VLAN 0 and `bridge trunk`, unless bridges filter VLANs",
        "NET_CLS_BPF and CONFIG_NET_SCH_INGRESS",
    ),
    "tbf": Wanted(
        "sch_tbf",
        tries.qdisc("tbf", rate=1_000_000, burst=10_000, latency=100_000),
        "`qos` with a rate, unless there is netem",
        "NET_SCH_TBF",
    ),
    "netem": Wanted(
        "sch_netem",
        tries.qdisc("netem", delay=1000),
        "`qos` with delay, jitter, loss or corruption",
        "NET_SCH_NETEM",
        minor=False,
    ),
    "nftables bridge": Wanted(
        "nf_tables",
        tries.nft_table(_NFPROTO_BRIDGE),
        "addresses of guests in `vm info`",
        "NF_TABLES_BRIDGE",
        minor=False,
    ),
    "nftables netdev": Wanted(
        "nf_tables",
        tries.nft_table(_NFPROTO_NETDEV),
        "`tap mirror`, and keeping guests behind a host tap from the host's other addresses",
        "NF_TABLES_NETDEV",
        minor=False,
    ),
    "tun": Wanted("tun", tries.tap("/dev/net/tun"), "interfaces of virtual machines, once there are such", "TUN"),
    "vxlan": Wanted(
        "vxlan",
        tries.link("vxlan", vxlan_id=1, vxlan_port=4789),
        "networks across several hosts, once there are such",
        "VXLAN",
    ),
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
        costs=wanted.costs,
        advice=f"boot a kernel with CONFIG_{wanted.option}",
        minor=wanted.minor,
    )
