"""Alarms against what really happened, and two models side by side, in events (pure).

An alarm is *true* when its machine fails within the horizon after it was raised; *early* when it
was raised before that and still stood then; *averted* when somebody intervened within the horizon
and no failure came first (nobody knows what would have been); *open* when the horizon after it was
not observed to its end; and *false* otherwise. Where no failure came, who went to look while it
stood decides: *confirmed* (a repair that names a mode confirms, too), or false. A failure is
foretold when an alarm of the same life stood within the horizon before it; its lead time runs from
there.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from foreshock_trainer.evaluate import HOURS_PER_MONTH, NS_PER_HOUR
from foreshock_trainer.outcomes import (
    ANSWERS,
    FAILURE,
    FALSE_ALARM,
    INTERVENTIONS,
    OBSERVED_UNTIL,
    REPAIRED,
    RESTARTS,
    failures_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foreshock_trainer.outcomes import Event

    Episodes = Sequence[tuple[int, int | None]]

Failure = tuple[str, int, str]
"""Machine, time (UTC ns) and mode."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time `(from_ns, to_ns]`, and how far ahead a failure counts."""

    from_ns: int
    to_ns: int
    horizon_ns: int

    def holds(self, time_ns: int) -> bool:
        """Say whether a moment lies in it."""
        return self.from_ns < time_ns <= self.to_ns


@dataclass(slots=True)
class Tally:
    """One model's alarms and failures on some machines.

    `foretold` gives hours ahead, or None for a missed failure; `hours` is the time that was scored,
    `alarm_hours` the part of it in which an alarm stood: who always alarms foretells everything.
    """

    true: int = 0
    false: int = 0
    early: int = 0
    confirmed: int = 0
    averted: int = 0
    open: int = 0
    hours: float = 0.0
    alarm_hours: float = 0.0
    foretold: dict[Failure, float | None] = field(default_factory=dict)

    @property
    def found(self) -> list[float]:
        """The lead times of the failures that were foretold."""
        return [hours for hours in self.foretold.values() if hours is not None]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        leads, failures = self.found, len(self.foretold)
        months = self.hours / HOURS_PER_MONTH
        counts = {k: v for k, v in asdict(self).items() if isinstance(v, int)}
        return counts | {
            "failures": failures,
            "foretold": len(leads),
            "recall": len(leads) / failures if failures else None,
            "lead_time_h_p50": statistics.median(leads) if leads else None,
            "machine_months": months,
            "share_of_time_in_alarm": self.alarm_hours / self.hours if self.hours else None,
            "false_alarms_per_machine_month": self.false / months if months else None,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model B beside model A on the same machines and the same stretch.

    `earlier_h` are hours by which B warned earlier than A, one for each failure that both foretold.
    """

    a: Tally
    b: Tally

    @property
    def earlier_h(self) -> list[float]:
        """Hours that B warned earlier (negative: later), by failure."""
        pairs = ((self.a.foretold[f], self.b.foretold[f]) for f in self.a.foretold)
        return [theirs - ours for ours, theirs in pairs if ours is not None and theirs is not None]

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain values, with every failure."""
        both, a, b = self.earlier_h, self.a.foretold, self.b.foretold
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "false_alarms_fewer": self.a.false - self.b.false,
            "foretold_by_both": len(both),
            "foretold_by_a_only": sum(a[f] is not None and b[f] is None for f in a),
            "foretold_by_b_only": sum(b[f] is not None and a[f] is None for f in a),
            "earlier_h_p50": statistics.median(both) if both else None,
            "failures": [
                {"machine": f[0], "time_ns": f[1], "mode": f[2], "a_h": a[f], "b_h": b[f]}
                for f in sorted(a)
            ],
        }


def tally(
    machine: str, episodes: Episodes, events: Sequence[Event], stretch: Stretch, observed_ns: int
) -> Tally:
    """Return the account of one machine's alarms.

    Args:
        machine: its name.
        episodes: when each alarm was raised and cleared (None: it stands), in order.
        events: its work orders.
        stretch: alarms raised and failures that came in it count.
        observed_ns: up to when the outcome is known, where no `observed_until` says more.
    """
    until_ns = max((e.time_ns for e in events if e.kind == OBSERVED_UNTIL), default=observed_ns)
    seen = Tally()
    for raised, cleared in episodes:
        if stretch.holds(raised):
            name = _fate(raised, cleared, events, stretch.horizon_ns, until_ns)
            if name not in {"true", "early"}:
                name = _answered(raised, cleared, events) or name
            setattr(seen, name, getattr(seen, name) + 1)
    for failure in failures_of(events):
        if stretch.holds(failure.time_ns):
            key = (machine, failure.time_ns, failure.mode)
            seen.foretold[key] = _lead_h(failure.time_ns, episodes, events, stretch.horizon_ns)
    return seen


def summed(parts: Iterable[Tally]) -> Tally:
    """Return the account of several machines."""
    total = Tally()
    for part in parts:
        for name in (
            "true",
            "false",
            "early",
            "confirmed",
            "averted",
            "open",
            "hours",
            "alarm_hours",
        ):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.foretold.update(part.foretold)
    return total


def _fate(
    raised: int, cleared: int | None, events: Sequence[Event], horizon_ns: int, until_ns: int
) -> str:
    ends = [e for e in events if e.time_ns >= raised and e.kind in {FAILURE, *INTERVENTIONS}]
    following = min(ends, key=lambda e: e.time_ns, default=None)
    if following is None or following.time_ns > raised + horizon_ns:
        if following is not None and following.kind not in INTERVENTIONS:
            stood = cleared is None or cleared > following.time_ns - horizon_ns
            return "early" if stood else "false"
        return "false" if until_ns >= raised + horizon_ns else "open"
    return "averted" if following.kind in INTERVENTIONS else "true"


def _answered(raised: int, cleared: int | None, events: Sequence[Event]) -> str | None:
    stood = [e for e in events if raised <= e.time_ns and (cleared is None or e.time_ns <= cleared)]
    answers = [e for e in stood if e.kind in ANSWERS or (e.kind == REPAIRED and e.mode)]
    if not answers:
        return None
    last = max(answers, key=lambda e: e.time_ns)
    return "false" if last.kind == FALSE_ALARM else "confirmed"


def _lead_h(
    failure_ns: int, episodes: Episodes, events: Sequence[Event], horizon_ns: int
) -> float | None:
    restarts = [e.time_ns for e in events if e.kind in RESTARTS and e.time_ns < failure_ns]
    begin_ns = max([failure_ns - horizon_ns, *restarts])
    stood = [
        max(raised, begin_ns)
        for raised, cleared in episodes
        if raised <= failure_ns and (cleared is None or cleared > begin_ns)
    ]
    return (failure_ns - min(stood)) / NS_PER_HOUR if stood else None


def side_by_side(name_a: str, name_b: str, seen: Mapping[str, Any]) -> list[str]:
    """Return a comparison (its JSON form) as lines for a person."""
    wide = max(len(name_a), len(name_b), 10)
    rows = [f"{'':<32}{name_a:>{wide + 2}}{name_b:>{wide + 2}}"]
    for title, key, style in _ROWS:
        told = (_text(seen[side][key], style) for side in ("a", "b"))
        rows.append(f"{title:<32}" + "".join(f"{text:>{wide + 2}}" for text in told))
    both, earlier = seen["foretold_by_both"], seen["earlier_h_p50"]
    fewer = seen["false_alarms_fewer"]
    verdict = f"{name_b} gave {abs(fewer)} {'fewer' if fewer >= 0 else 'more'} false alarms"
    if both:
        when = "earlier" if earlier >= 0 else "later"
        verdict += f", and warned {abs(earlier):.1f} h {when} (median of {both} failures)"
    only = f"; foretold by {name_a} only: {seen['foretold_by_a_only']}"
    return [*rows, f"{verdict}{only}, by {name_b} only: {seen['foretold_by_b_only']}"]


_ROWS = (
    ("failures", "failures", "d"),
    ("  foretold", "foretold", "d"),
    ("  hours ahead (median)", "lead_time_h_p50", ".1f"),
    ("alarms that were true", "true", "d"),
    ("  early", "early", "d"),
    ("  false", "false", "d"),
    ("  confirmed by who went to look", "confirmed", "d"),
    ("  averted by an intervention", "averted", "d"),
    ("  open (not observed to the end)", "open", "d"),
    ("false alarms per machine-month", "false_alarms_per_machine_month", ".2f"),
    ("share of the time in alarm", "share_of_time_in_alarm", ".1%"),
)


def _text(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
