"""The fallback judgement: plain limits per channel, for while no model gives a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Limit:
    """Alarm limits of one channel, in its unit; None where there is none."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """A channel beyond its limit: how far, as a share of the limit's size."""

    channel: str
    value: float
    limit: float
    excess: float


def breaches(
    window: npt.NDArray[np.float32], channels: Sequence[str], limits: Mapping[str, Limit]
) -> list[Breach]:
    """Return the channels of a window float32[T, C] that are beyond a limit, worst first.

    A channel is judged by the mean of the window's last quarter, so that one spike raises nothing.
    """
    found = [
        breach
        for name, value in zip(channels, recent_means(window), strict=True)
        if name in limits and (breach := _breach(name, value, limits[name]))
    ]
    return sorted(found, key=lambda breach: -breach.excess)


def _breach(channel: str, value: float, limit: Limit) -> Breach | None:
    if limit.high is not None and value > limit.high:
        return Breach(channel, value, limit.high, (value - limit.high) / (abs(limit.high) or 1.0))
    if limit.low is not None and value < limit.low:
        return Breach(channel, value, limit.low, (limit.low - value) / (abs(limit.low) or 1.0))
    return None


def recent_means(window: npt.NDArray[np.float32]) -> list[float]:
    """Return the mean of each channel over a window's last quarter; NaN where nothing came."""
    recent = window[-max(1, len(window) // 4) :].astype(np.float64)
    present = ~np.isnan(recent)
    with np.errstate(invalid="ignore"):
        means = np.where(present, recent, 0.0).sum(axis=0) / present.sum(axis=0)
    return [float(mean) for mean in means]
