"""What became of a machine after each window (pure): its label, or the reason why it has none.

A window is an example only when its outcome was seen. Labels, with H the horizon:

- 1: the machine failed within H after the window's end, and nobody intervened before;
- 0: it ran on for H without a failure.

And these are no examples: windows that end between a failure and its repair (`downtime`), windows
whose machine was serviced, repaired or replaced within H before any failure (`intervened`: what
would have happened is unknown), windows with less than H observed after them (`unobserved`), and
windows that a gateway could only have scored after the failure (`too_late`: the reading that
makes a window due comes after its end).

A window that holds readings from before and after an intervention is `mixed`: its first part is
another machine. Its label is true all the same, and a gateway, which knows nothing of work orders,
scores it. So it is an example, marked: figures are told with and without, and neither the healthy
baseline nor the novelty is made of such windows (docs/adr/0005-honest-split.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

FAILURE: Final = "failure"
REPAIRED: Final = "repaired"
RESTARTS: Final = frozenset({REPAIRED, "installed"})
INTERVENTIONS: Final = RESTARTS | {"maintenance"}
OBSERVED_UNTIL: Final = "observed_until"
CONFIRMED: Final = "confirmed"
FALSE_ALARM: Final = "false_alarm"
ANSWERS: Final = frozenset({CONFIRMED, FALSE_ALARM})
"""What somebody found who went to an alarm. It judges the alarm and labels no window: a fault that
was found says nothing of when it would have ended in a failure."""
KINDS: Final = INTERVENTIONS | ANSWERS | {FAILURE, OBSERVED_UNTIL}
"""Events that are work orders."""
NEVER_NS: Final = np.iinfo(np.int64).max


class Fate(IntEnum):
    """Whether a window is an example, or why it is none."""

    EXAMPLE = 0
    MIXED = 1
    DOWNTIME = 2
    INTERVENED = 3
    UNOBSERVED = 4
    TOO_LATE = 5


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a machine's work orders: UTC ns, kind, and the failure mode or ''."""

    time_ns: int
    kind: str
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Per window: `fate` uint8[N], `label` bool[N], and `failure_ns` int64[N].

    `failure_ns` is the end of this life, 0 when none was seen before an intervention; `failure`
    int64[N] is its row in `failures`, -1 likewise.
    """

    fate: npt.NDArray[np.uint8]
    label: Bool
    failure_ns: Int64
    failure: Int64

    def take(self, chosen: Bool) -> Outcomes:
        """Return the outcomes of the chosen windows (bool[N])."""
        return Outcomes(
            self.fate[chosen], self.label[chosen], self.failure_ns[chosen], self.failure[chosen]
        )


def failures_of(events: Sequence[Event]) -> list[Event]:
    """Return the failures in order of time."""
    return sorted((e for e in events if e.kind == FAILURE), key=lambda e: e.time_ns)


def outcomes(
    end_ns: Int64,
    due_ns: Int64,
    events: Sequence[Event],
    *,
    length_ns: int,
    horizon_ns: int,
    last_reading_ns: int,
) -> Outcomes:
    """Return what became of one machine after each of its windows.

    Args:
        end_ns: int64[N], ends of the windows (exclusive).
        due_ns: int64[N], source time of the reading that makes each window due.
        events: the machine's work orders.
        length_ns: how far a window reaches back from its end.
        horizon_ns: how far ahead a failure counts.
        last_reading_ns: where observation ends when no `observed_until` says so.
    """
    failed = np.array([e.time_ns for e in failures_of(events)], np.int64)
    mended = _times(events, INTERVENTIONS)
    failure, failure_ns = _next(failed, end_ns)
    _, mended_ns = _next(mended, end_ns)
    until_ns = max((e.time_ns for e in events if e.kind == OBSERVED_UNTIL), default=last_reading_ns)
    in_this_life = failure_ns <= mended_ns
    label = in_this_life & (failure_ns - horizon_ns <= end_ns)
    fate = np.full(len(end_ns), Fate.EXAMPLE, np.uint8)
    for reason, holds in (
        (Fate.MIXED, _spans(end_ns - length_ns, end_ns, mended)),
        (Fate.UNOBSERVED, ~label & (until_ns - horizon_ns < end_ns)),
        (Fate.INTERVENED, ~label & (mended_ns - horizon_ns < end_ns)),
        (Fate.TOO_LATE, label & (due_ns > failure_ns)),
        (Fate.DOWNTIME, _down(end_ns, events)),
    ):
        fate[holds] = reason
    seen = in_this_life & (failure >= 0)
    return Outcomes(fate, label & seen, np.where(seen, failure_ns, 0), np.where(seen, failure, -1))


def due_times(end_ns: Int64, time_ns: Int64, lateness_ns: int) -> Int64:
    """Return when each window became due: the source time of the reading that passed its end.

    `time_ns` int64[n] are the machine's readings in arrival order.
    """
    newest = np.maximum.accumulate(time_ns)
    at = np.searchsorted(newest, end_ns + lateness_ns)
    return np.append(newest, NEVER_NS)[at]


def _times(events: Sequence[Event], kinds: frozenset[str]) -> Int64:
    return np.array(sorted(e.time_ns for e in events if e.kind in kinds), np.int64)


def _next(times: Int64, end_ns: Int64) -> tuple[Int64, Int64]:
    """Return the first of the sorted times from each end on: its index (-1: none) and itself."""
    at = np.searchsorted(times, end_ns, side="left")
    found = at < len(times)
    return np.where(found, at, -1), np.append(times, NEVER_NS)[at]


def _spans(start_ns: Int64, end_ns: Int64, times: Int64) -> Bool:
    """Say which windows hold time from both sides of one of the sorted times."""
    first = np.searchsorted(times, start_ns, side="right")
    spans: Bool = first < np.searchsorted(times, end_ns, side="left")
    return spans


def _down(end_ns: Int64, events: Sequence[Event]) -> Bool:
    """Say which windows end while the machine is down; without a repair it stays down."""
    restarts = _times(events, RESTARTS)
    down = np.zeros(len(end_ns), np.bool_)
    for failure in failures_of(events):
        _, up_ns = _next(restarts, np.array([failure.time_ns]))
        down |= (end_ns > failure.time_ns) & (end_ns <= up_ns[0])
    return down
