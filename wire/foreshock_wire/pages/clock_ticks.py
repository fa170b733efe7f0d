"""Round moments for the axis of a picture (pure)."""

from __future__ import annotations

from typing import Final

from foreshock_wire.times import rfc3339

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400
STEPS_S: Final = (
    *(1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600),
    *(days * DAY_S for days in (1, 2, 7, 14, 28, 91, 364)),
)


def clock_ticks(begin_ns: int, end_ns: int, most: int = 12) -> list[tuple[int, str]]:
    """Return at most `most` round moments between two (UTC ns), each with how it is written.

    A day is written as its date, what lies within one as its time.
    """
    span_s = (end_ns - begin_ns) // SECOND_NS
    years = STEPS_S[-1] * (span_s // (STEPS_S[-1] * most) + 1)
    step_ns = next((s for s in STEPS_S if span_s < s * most), years) * SECOND_NS
    first = -(-begin_ns // step_ns) * step_ns
    return [(at, _written(at)) for at in range(first, end_ns + 1, step_ns)]


def _written(time_ns: int) -> str:
    date, _, clock = rfc3339(time_ns).partition("T")
    if time_ns % (DAY_S * SECOND_NS) == 0 or not clock:
        return date
    return clock[:5] if time_ns % (60 * SECOND_NS) == 0 else clock[:8]
