"""File systems of guests, mounted on this host and served by their agents; the actor `cc` has them.

They belong to the namespace of the envelope, one for each guest at most. `target` names a guest by VM name or UUID.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.messages.base import Ack, Event, Message, Query, Request


class MountState(StrEnum):
    """How it stands with a mount."""

    MOUNTING = "mounting"
    MOUNTED = "mounted"
    LOST = "lost"
    """It was unmounted because its guest, or who carried it, is not there any more; `reason` says why."""


class MountGuest(Request[Ack], frozen=True, kw_only=True, tag="cc.mount"):
    """Mount the root of a guest; `conflict` if it is mounted already, or the directory is not empty."""

    target: str
    path: str
    """An empty directory of the host, absolute."""


class UnmountGuests(Request[Ack], frozen=True, kw_only=True, omit_defaults=True, tag="cc.unmount"):
    """Unmount, whoever still uses it; also takes what was lost off the list. `not_found`."""

    target: str = ""
    """VM name, UUID, or where it is mounted; empty for all of the namespace."""


class MountInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mount."""

    vm: str
    uuid: str
    path: str
    source: str = ""
    """What the mount is called in /proc/mounts."""
    state: MountState
    reason: str = ""


class MountList(Message, frozen=True, kw_only=True, tag="cc.mounts"):
    """By VM."""

    mounts: tuple[MountInfo, ...]


class GetMounts(Query[MountList], frozen=True, kw_only=True, tag="cc.mounts.get"):
    """Which guests are, or were, mounted?"""


class GuestMounted(Event, frozen=True, kw_only=True, tag="cc.mounted"):
    """On `cc/<namespace>/<uuid>/mounted/`."""

    uuid: str
    vm: str
    path: str


class GuestUnmounted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="cc.unmounted"):
    """On `cc/<namespace>/<uuid>/unmounted/`; with a reason if nobody asked for it."""

    uuid: str
    vm: str
    path: str
    reason: str = ""
