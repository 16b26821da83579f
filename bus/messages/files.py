"""The file area of a host: finding files in it and fetching others into it."""

from __future__ import annotations

import msgspec

from bus.messages.base import Event, Message, Query, Request


class LocalFile(Message, frozen=True, kw_only=True, omit_defaults=True, tag="files.file"):
    """A file that is there now."""

    path: str
    """Absolute."""
    size_bytes: int = 0


class GetFile(Request[LocalFile], frozen=True, kw_only=True, tag="files.get"):
    """Have a file of the area here; `not_found` if nobody has it, `invalid` if the name leads out of the area."""

    name: str
    """Relative to the file area; a leading slash is ignored."""


class FetchUrl(Request[LocalFile], frozen=True, kw_only=True, tag="files.fetch"):
    """Have what is at an http or https URL in the file area, downloading it if it is not there yet.

    `unavailable` and the reason if it cannot be downloaded; nothing half-done stays.
    """

    url: str


class Transfer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A download under way, or one that failed lately."""

    source: str
    """URL, without user and password."""
    path: str
    """Where it goes."""
    done_bytes: int
    total_bytes: int = -1
    """-1 if the other side does not say."""
    error: str = ""
    """Why it failed; empty while it goes on."""


class TransferList(Message, frozen=True, kw_only=True, tag="files.transfers"):
    """Downloads, those under way first."""

    transfers: tuple[Transfer, ...]


class GetTransfers(Query[TransferList], frozen=True, kw_only=True, tag="files.transfers.get"):
    """What is being downloaded?"""


class TransferChanged(Event, frozen=True, kw_only=True, tag="files.transfer.changed"):
    """A download began, came further (at most once a second), ended or failed; on `file/<host>/<what>/`."""

    transfer: Transfer


class FileNames(Message, frozen=True, kw_only=True, tag="files.names"):
    """Names in the file area; a directory ends in a slash."""

    names: tuple[str, ...]


class MatchFiles(Query[FileNames], frozen=True, kw_only=True, tag="files.match"):
    """Which names begin so? One level of directories, at most 1,000 names, sorted."""

    prefix: str
