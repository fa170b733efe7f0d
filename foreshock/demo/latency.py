"""From reading to alarm: the wall-clock time between two files that nobody in between wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def trigger_published_ns(
    published: Sequence[tuple[int, int]], window_end_ns: int, lateness_ns: int
) -> int | None:
    """Return when the message was published that made a window due (pure).

    It is the first one, in order of publication, whose source time less the allowed lateness has
    reached the window's end.
    """
    for time_ns, published_ns in published:
        if time_ns - lateness_ns >= window_end_ns:
            return published_ns
    return None


def latencies_ms(
    seen: Iterable[tuple[str, int, int]],
    published: Mapping[str, Sequence[tuple[int, int]]],
    lateness_ns: int,
) -> list[float]:
    """Return the latency of each (machine, window end, seen at) that has a known trigger."""
    found = []
    for machine, window_end_ns, seen_ns in seen:
        sent_ns = trigger_published_ns(published.get(machine, ()), window_end_ns, lateness_ns)
        if sent_ns is not None:
            found.append((seen_ns - sent_ns) / 1e6)
    return found


def percentiles(values_ms: Sequence[float]) -> dict[str, float | int | None]:
    """Return p50, p95, p99 and their number; None where there is nothing to count."""
    if not values_ms:
        return {"p50": None, "p95": None, "p99": None, "count": 0}
    p50, p95, p99 = np.percentile(values_ms, [50, 95, 99]).tolist()
    return {
        "p50": round(p50, 1),
        "p95": round(p95, 1),
        "p99": round(p99, 1),
        "count": len(values_ms),
    }
