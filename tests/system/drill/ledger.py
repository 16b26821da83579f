"""What clients were told, to be held against what is true: the heart of the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

SAYS_UNKNOWN = ("unknown", "closed the connection")
"""Words by which an answer admits that the command may have been carried out."""


class Outcome(Enum):
    """Of a command, as its client saw it."""

    NOT_ASKED = "not asked"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"

    @property
    def maybe(self) -> bool:
        """Whether it may have happened."""
        return self in (Outcome.DONE, Outcome.UNKNOWN)


def outcome_of(error: str) -> Outcome:
    """What an answer's error text says; the empty one is success."""
    if not error:
        return Outcome.DONE
    return Outcome.UNKNOWN if any(words in error for words in SAYS_UNKNOWN) else Outcome.REFUSED


@dataclass
class VmRecord:
    """One VM of a client that is its only commander."""

    name: str
    launch: Outcome = Outcome.NOT_ASKED
    start: Outcome = Outcome.NOT_ASKED
    tag: Outcome = Outcome.NOT_ASKED
    kill: Outcome = Outcome.NOT_ASKED
    flush: Outcome = Outcome.NOT_ASKED
    said: list[str] = field(default_factory=list)
    """Errors, for the report."""

    def set(self, what: str, outcome: Outcome, error: str) -> None:
        """Note the answer to one command."""
        setattr(self, what, outcome)
        if error:
            self.said.append(f"{what}: {error}")


@dataclass(frozen=True)
class VmTruth:
    """What is really there of it: the listed state ("" if it is not listed), starts counted from inside, tag."""

    state: str
    starts: int | None
    """None if its disk was full, so that it could not count."""
    tag: str


def broken_promises(record: VmRecord, truth: VmTruth) -> list[str]:
    """Every promise that this VM shows to be broken, as sentences."""
    found = []
    if record.flush is Outcome.DONE and truth.state:
        found.append(f"its flush was acknowledged, but it is {truth.state}")
    if record.flush.maybe:
        return [_about(record, truth, what) for what in found]
    if record.launch is Outcome.DONE and not truth.state:
        found.append("its launch was acknowledged, but it is not listed")
    if record.launch is Outcome.REFUSED and truth.state not in ("", "ERROR"):
        found.append(f"its launch was refused, but it is {truth.state}")
    if truth.starts is not None and truth.starts > 1:
        found.append(f"its init was executed {truth.starts} times")
    if truth.starts and not record.start.maybe:
        found.append("it was started, and nobody who asked for it was told so")
    if record.start is Outcome.DONE and not record.kill.maybe and truth.starts == 0:
        found.append("its start was acknowledged, but its init never ran")
    if record.start is Outcome.DONE and not record.kill.maybe and truth.state != "RUNNING":
        found.append(f"it was started and not killed, but it is {truth.state or 'gone'}")
    if record.kill is Outcome.DONE and truth.state in ("RUNNING", "PAUSED", "BUILDING"):
        found.append(f"its kill was acknowledged, but it is {truth.state}")
    if record.tag is Outcome.DONE and truth.tag != record.name:
        found.append(f"its tag was acknowledged, but is `{truth.tag}`")
    return [_about(record, truth, what) for what in found]


def _about(record: VmRecord, truth: VmTruth, what: str) -> str:
    return f"{record.name}: {what} ({truth}; told: {'; '.join(record.said) or 'no error'})"
