"""What the demo says, as text: how long things took, which events came. Pure functions and one tally."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

LOG_HEAD = ("time", "level", "actor", "event", "trace")


class Timing(NamedTuple):
    """One line of the closing table."""

    what: str
    seconds: float
    remark: str = ""


class EventTally:
    """Counts the life-cycle events of VMs and notices missing ones by the jumps of `topic_seq`.

    It must have subscribed before the first event: then each topic of a publisher begins with 1.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lost = 0
        self._last: dict[tuple[str, str], int] = {}

    def take(self, topic: str, epoch: str, topic_seq: int) -> str:
        """Count one event of `vm/<namespace>/<name>/<what>/`; returns its last word."""
        what = topic.rstrip("/").rpartition("/")[2]
        key = (epoch, topic)
        self.lost += max(topic_seq - self._last.get(key, 0) - 1, 0)
        self._last[key] = topic_seq
        self.counts[what] += 1
        return what

    def sentence(self) -> str:
        """All counts in the order in which the events first came, and whether any were lost."""
        counted = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        lost = f"{self.lost} lost on the way" if self.lost else "none lost"
        return f"{counted}; {lost}" if counted else "no events"


def event_name(topic: str) -> str:
    """`vm/minimega/demo1/quit/` as a person says it: `demo1 quit`."""
    words = [unquote(word) for word in topic.strip("/").split("/")]
    return " ".join(words[-2:])


def seconds_text(seconds: float) -> str:
    """Two decimals, or one from ten seconds on."""
    return f"{seconds:.1f} s" if seconds >= 9.995 else f"{seconds:.2f} s"


def per_guest(seconds: float, guests: int) -> str:
    """`100 containers, 3.1 ms each`."""
    return f"{plural(guests, 'container')}, {seconds * 1000 / max(guests, 1):.1f} ms each"


def plural(count: int, noun: str) -> str:
    """`1 container`, `2 containers`, `2 processes`."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def timing_table(timings: Sequence[Timing], total_s: float) -> str:
    """What took how long, aligned; the last line is the sum, waiting between the parts included."""
    rows = [*timings, Timing("all together", total_s)]
    width = max(len(row.what) for row in rows)
    times = [seconds_text(row.seconds) for row in rows]
    time_width = max(map(len, times))
    return "\n".join(
        f"{row.what.ljust(width)}  {text.rjust(time_width)}  {row.remark}".rstrip()
        for row, text in zip(rows, times, strict=True)
    )


def first_rows(table: str, rows: int) -> str:
    """The header and the first rows of a rendered table, and how many more there are."""
    header, *body = table.splitlines() or [""]
    more = len(body) - rows
    shown = [header, *body[:rows]]
    return "\n".join([*shown, f"... and {more} more"] if more > 0 else shown)


def leftover_text(found: Sequence[str], shown: int = 10) -> str:
    """What was found of the demo after it had ended, one phrase a line; says so if there is nothing."""
    if not found:
        return "Nothing is left: no process, mount, cgroup, device or file."
    more = [f"... and {len(found) - shown} more"] if len(found) > shown else []
    lines = [f"  {phrase}" for phrase in [*found[:shown], *more]]
    return "\n".join([f"Left behind ({len(found)}):", *lines])


def log_errors(text: str, shown: int = 3) -> list[str]:
    """The last errors of a log of JSON lines, each as `actor: event: key=value ...` without its trace."""
    return [_log_line(record) for record in map(_record, text.splitlines()) if record.get("level") == "error"][-shown:]


def _record(line: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _log_line(record: dict[str, object]) -> str:
    values = " ".join(f"{key}={value}" for key, value in record.items() if key not in LOG_HEAD)
    trace = str(record.get("trace", "")).strip().splitlines()
    return f"log: {record.get('actor')}: {record.get('event')} {values} {trace[-1] if trace else ''}".rstrip()
