"""Which of the waiting requests are carried out next: those about guests together, because one by one they are slow."""

from __future__ import annotations

from actors.network.table import Job, NetworkTable
from bus.messages.network import ForgetGuestNics, PlugGuests, UnplugGuests

MERGED = (PlugGuests, UnplugGuests, ForgetGuestNics)
MAX_GUESTS = 1_000
"""In one operation: whoever comes after it waits until all of it is done."""


def next_batch(table: NetworkTable) -> list[Job]:
    """Take the first request off the queue, with those of its kind that it can take along.

    No request about a guest overtakes another one about the same guest.
    """
    first = table.queue[0].body
    if not isinstance(first, MERGED):
        return [table.queue.pop(0)]
    taken: list[Job] = []
    left: list[Job] = []
    spoken_for: set[int] = set()
    count = 0
    for number, job in enumerate(table.queue):
        vm_ids = _guests_of(job)
        if vm_ids is None:  # it may be about any guest
            left += table.queue[number:]
            break
        fits = not taken or count + len(vm_ids) <= MAX_GUESTS
        if type(job.body) is type(first) and fits and spoken_for.isdisjoint(vm_ids):
            taken.append(job)
            count += len(vm_ids)
        else:
            left.append(job)
        spoken_for |= vm_ids
    table.queue = left
    return taken


def _guests_of(job: Job) -> set[int] | None:
    match job.body:
        case PlugGuests(guests=guests):
            return {guest.vm_id for guest in guests}
        case UnplugGuests(vm_ids=vm_ids) | ForgetGuestNics(vm_ids=vm_ids):
            return set(vm_ids)
        case _:
            return None
