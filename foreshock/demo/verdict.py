"""Alarms against what really happened: true, false, missed, and how long before (pure)."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HOUR_NS: Final = 3_600_000_000_000
MATCH_H: Final = 72.0
"""An alarm is true if its machine fails within this time: the far end of the promised 24-72 h."""

FAILURE: Final = "failure"
SUDDEN: Final = "sudden"
_ENDS_EXPECTATION: Final = frozenset({"maintenance"})


@dataclass(frozen=True, slots=True)
class Event:
    """A work order: `kind` failure or maintenance; mode SUDDEN is a failure without any sign."""

    machine: str
    time_ns: int
    kind: str
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm by machine and event time."""

    machine: str
    time_ns: int


@dataclass(slots=True)
class Verdict:
    """Counts of alarms and failures; `open` are alarms whose answer lies beyond the show's end.

    An alarm that a planned maintenance followed is `averted`: nobody can know what would have been.
    """

    true: int = 0
    false: int = 0
    averted: int = 0
    open: int = 0
    failures: int = 0
    missed: int = 0
    missed_sudden: int = 0
    lead_times_h: list[float] = field(default_factory=list)

    @property
    def lead_time_h_p50(self) -> float | None:
        """Median time from the first alarm to the failure that it foretold."""
        return statistics.median(self.lead_times_h) if self.lead_times_h else None


def judge_alarms(raised: Iterable[Raised], events: Sequence[Event], end_ns: int) -> Verdict:
    """Match alarms with failures, machine by machine."""
    verdict = Verdict()
    ordered = sorted(events, key=lambda event: event.time_ns)
    foretold: dict[tuple[str, int], list[float]] = {}
    for alarm in raised:
        following = [
            event
            for event in ordered
            if event.machine == alarm.machine
            and event.kind in {FAILURE, *_ENDS_EXPECTATION}
            and 0 < event.time_ns - alarm.time_ns <= MATCH_H * HOUR_NS
        ]
        _class_alarm(verdict, alarm, following, end_ns, foretold)
    for event in ordered:
        if event.kind == FAILURE:
            _class_failure(verdict, event, foretold)
    return verdict


def _class_alarm(
    verdict: Verdict,
    alarm: Raised,
    following: Sequence[Event],
    end_ns: int,
    foretold: dict[tuple[str, int], list[float]],
) -> None:
    if not following:
        if alarm.time_ns + MATCH_H * HOUR_NS > end_ns:
            verdict.open += 1
        else:
            verdict.false += 1
        return
    first = following[0]
    if first.kind != FAILURE:
        verdict.averted += 1
        return
    verdict.true += 1
    lead_h = (first.time_ns - alarm.time_ns) / HOUR_NS
    foretold.setdefault((first.machine, first.time_ns), []).append(lead_h)


def _class_failure(
    verdict: Verdict, event: Event, foretold: dict[tuple[str, int], list[float]]
) -> None:
    verdict.failures += 1
    leads = foretold.get((event.machine, event.time_ns))
    if leads:
        verdict.lead_times_h.append(max(leads))
    else:
        verdict.missed += 1
        verdict.missed_sudden += event.mode == SUDDEN
