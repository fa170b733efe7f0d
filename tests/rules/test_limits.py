"""The fallback's limits: who is beyond one, how far, and that one spike raises nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.limits import Limit, breaches, recent_means

CHANNELS = ("temperature", "pressure")


def window(
    temperature: float, pressure: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.tile(np.array([temperature, pressure], np.float32), (8, 1))


def test_the_worst_breach_comes_first() -> None:
    limits = {"temperature": Limit(high=80.0), "pressure": Limit(low=4.0)}
    found = breaches(window(88.0, 2.0), CHANNELS, limits)
    assert [(b.channel, b.value, b.limit, b.excess) for b in found] == [
        ("pressure", 2.0, 4.0, 0.5),
        ("temperature", 88.0, 80.0, pytest.approx(0.1)),
    ]


@pytest.mark.parametrize("value", [4.0, 80.0, float("nan")])
def test_on_the_limit_or_without_readings_nothing_is_breached(value: float) -> None:
    assert breaches(window(value, 1.0), CHANNELS, {"temperature": Limit(4.0, 80.0)}) == []


def test_a_channel_without_limits_breaches_none() -> None:
    assert breaches(window(1e9, -1e9), CHANNELS, {"vibration": Limit(high=1.0)}) == []


def test_a_limit_of_zero_has_an_excess() -> None:
    (found,) = breaches(window(3.0, 0.0), CHANNELS, {"temperature": Limit(high=0.0)})
    assert found.excess == 3.0


@given(old=st.floats(-1e6, 1e6), now=st.floats(-1e6, 1e6))
def test_only_the_last_quarter_counts(old: float, now: float) -> None:
    values = window(old, old)
    values[-2:] = now
    assert recent_means(values) == [float(np.float32(now))] * 2


def test_missing_readings_do_not_pull_the_mean() -> None:
    values = window(10.0, 20.0)
    values[-1, 0] = np.nan
    values[-2:, 1] = np.nan
    assert recent_means(values)[0] == 10.0
    assert np.isnan(recent_means(values)[1])
