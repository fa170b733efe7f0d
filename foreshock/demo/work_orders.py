"""The plant's work orders as they are written: what failed, and what was maintained."""

from __future__ import annotations

import csv
from datetime import datetime
from typing import TYPE_CHECKING

from foreshock.demo.verdict import FAILURE, HOUR_NS, Event

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.demo.watch import Seen


def read_events(path: Path) -> list[Event]:
    """Return the work orders so far, in the order in which they were written."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        whole = (line for line in lines if line.endswith("\n"))
        return [_event(row) for row in csv.DictReader(whole)]


def _event(row: dict[str, str]) -> Event:
    seconds = datetime.fromisoformat(row["time"]).timestamp()
    return Event(
        machine=row["machine"],
        time_ns=round(seconds) * 1_000_000_000,
        kind=row["kind"],
        mode=row["mode"],
    )


class Failures:
    """Tells of each failure once, with the warning that came before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = 0

    def news(self, seen: Seen) -> list[str]:
        """Return a line for each failure since the last call."""
        events = read_events(self._path)
        fresh, self._told = events[self._told :], len(events)
        return [_told(event, seen) for event in fresh if event.kind == FAILURE]


def _told(event: Event, seen: Seen) -> str:
    text = f"FAILED {event.machine}, {event.mode.replace('_', ' ')}: "
    alarm = seen.alarms.get(event.machine)
    if alarm is None or not alarm.stands or (alarm.raised_ns or 0) >= event.time_ns:
        return text + "no alarm stood"
    warned_h = (event.time_ns - (alarm.raised_ns or 0)) / HOUR_NS
    return text + f"the alarm had come {warned_h:.0f} h before"
