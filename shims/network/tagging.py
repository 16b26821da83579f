"""A pair of interfaces between a segment and the trunk of its bridge, for kernels whose bridges know no VLANs.

The near end is a port of the segment, the far end one of the trunk's bridge. Programs at the far end put the segment's
tag on what comes from there, and let nothing go there but what has this tag, which they take off. (tc-bpf(8); such
kernels mostly lack 802.1Q devices and act_vlan as well.)
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from shims.linux import bpf
from shims.netlink.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, Netlink, attribute, nested, number, text
from shims.netlink.qdisc import TCA_KIND, TCA_OPTIONS
from shims.network.base import FabricError

# include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h
_RTM_NEWQDISC: Final = 36
_RTM_NEWTFILTER: Final = 44
_TC_H_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
_INGRESS: Final = 0xFFFFFFF2
_EGRESS: Final = 0xFFFFFFF3
_TCA_BPF_FD: Final = 6
_TCA_BPF_NAME: Final = 7
_TCA_BPF_FLAGS: Final = 8
_TCA_BPF_FLAG_ACT_DIRECT: Final = 1
_PRIORITY: Final = 1
_TCMSG: Final = struct.Struct("=BxxxiIII")


def attach(netlink: Netlink, far: int, vlan: int) -> None:
    """Make the interface with this index the far end for a VLAN; raises FabricError where the kernel cannot."""
    try:
        netlink.ask(_classifying(far))
        for parent, code in ((_INGRESS, bpf.tagging_program(vlan)), (_EGRESS, bpf.untagging_program(vlan))):
            program = bpf.load_classifier(code)
            try:
                netlink.ask(_filter(far, parent, program))
            finally:
                os.close(program)
    except OSError as error:
        raise FabricError(
            "this kernel cannot put VLAN tags on frames: it has neither bridges that filter VLANs nor "
            f"programs that classify packets (cls_bpf): {error.strerror}"
        ) from error


def _classifying(ifindex: int) -> Message:
    payload = _TCMSG.pack(0, ifindex, _CLSACT_HANDLE, _TC_H_CLSACT, 0) + text(TCA_KIND, "clsact")
    return Message(_RTM_NEWQDISC, payload, NLM_F_CREATE | NLM_F_EXCL)


def _filter(ifindex: int, parent: int, program: int) -> Message:
    info = _PRIORITY << 16 | socket.htons(0x3)  # all protocols
    options = number(_TCA_BPF_FD, program) + text(_TCA_BPF_NAME, "minibus")
    options += attribute(_TCA_BPF_FLAGS, struct.pack("=I", _TCA_BPF_FLAG_ACT_DIRECT))
    payload = _TCMSG.pack(0, ifindex, 0, parent, info) + text(TCA_KIND, "bpf") + nested(TCA_OPTIONS, options)
    return Message(_RTM_NEWTFILTER, payload, NLM_F_CREATE | NLM_F_EXCL)
