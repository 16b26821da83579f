"""What the `vm` actor and the drivers that run guests (`container`, later `kvm`) say to each other.

Lists, because a launch of hundreds is one message each way for every few dozen guests, not one for each.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bus.messages.base import Ack, Message, Query, Request
from bus.messages.vm import VmConfig


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A guest to be made; the instance directory exists already."""

    vm_id: int
    name: str
    namespace: str
    uuid: str
    instance_dir: str
    config: VmConfig


class GuestReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one guest; `error` is one sentence, empty on success."""

    vm_id: int
    pid: int = 0
    error: str = ""
    warnings: tuple[str, ...] = ()
    console_port: int = 0
    """TCP port of the console of a guest that was made; 0 if there is none."""


class GuestReports(Message, frozen=True, kw_only=True, tag="guest.reports"):
    """One report per guest asked for, in any order."""

    reports: tuple[GuestReport, ...]


class CreateGuests(Request[GuestReports], frozen=True, kw_only=True, tag="guest.create"):
    """Bring each guest to BUILDING: everything built, nothing of it executed. A failed one leaves nothing."""

    guests: tuple[GuestSpec, ...]


class StartGuests(Request[GuestReports], frozen=True, kw_only=True, tag="guest.start"):
    """Let BUILDING guests run and paused ones go on."""

    vm_ids: tuple[int, ...]


class PauseGuests(Request[GuestReports], frozen=True, kw_only=True, tag="guest.pause"):
    """Stop the guests' clocks; answered once they stand."""

    vm_ids: tuple[int, ...]


class KillGuests(Request[GuestReports], frozen=True, kw_only=True, tag="guest.kill"):
    """End them; answered once their processes and cgroups are gone. Unknown or ended guests are no error."""

    vm_ids: tuple[int, ...]


class ForgetGuests(Request[GuestReports], frozen=True, kw_only=True, tag="guest.forget"):
    """Drop the records of ended guests, before their instance directories are removed."""

    vm_ids: tuple[int, ...]


class GuestExit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a guest ended."""

    vm_id: int
    exit: str
    """`exit status N`, `signal: killed`, or `unknown`."""
    clean: bool
    oom_killed: bool = False
    pid: int = 0
    """Of the guest that ended, so that a late report cannot be taken for the end of its successor."""
    message: str = ""
    """One sentence where the exit alone does not tell the story."""


class ReportExits(Request[Ack], frozen=True, kw_only=True, tag="guest.exited"):
    """Driver to `vm`: these ended. Repeated until acknowledged."""

    exits: tuple[GuestExit, ...]


class GuestConsole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a guest's console is served."""

    vm_id: int
    pid: int
    """Of the guest, so that a late report cannot be taken for news of its successor."""
    port: int = 0
    """TCP; 0: nowhere."""


class ReportConsoles(Request[Ack], frozen=True, kw_only=True, tag="guest.consoles"):
    """Driver to `vm`: these consoles are served elsewhere than was said before. Repeated until acknowledged."""

    consoles: tuple[GuestConsole, ...]


class GuestStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guest as its driver knows it."""

    vm_id: int
    pid: int = 0
    state: Literal["building", "running", "paused", "exited"]
    exit: GuestExit | None = None


class GuestList(Message, frozen=True, kw_only=True, tag="guest.list"):
    """Every guest of a driver that is not forgotten."""

    guests: tuple[GuestStatus, ...]


class ListGuests(Query[GuestList], frozen=True, kw_only=True, tag="guest.list.get"):
    """For reconciling after a restart."""


class GuestSample(msgspec.Struct, frozen=True, kw_only=True):
    """Resource use of one guest over a window; bytes, percent of one CPU, seconds."""

    vm_id: int
    virt_bytes: int
    res_bytes: int
    shr_bytes: int
    cpu_percent: float
    vcpu_percent: float
    time_s: float
    processes: int


class GuestSamples(Message, frozen=True, kw_only=True, tag="guest.samples"):
    """Samples of the guests whose processes could be read."""

    samples: tuple[GuestSample, ...]


class SampleGuests(Query[GuestSamples], frozen=True, kw_only=True, tag="guest.sample"):
    """Measure these guests over a window."""

    vm_ids: tuple[int, ...]
    window_s: float
