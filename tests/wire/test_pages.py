"""What pages are drawn with: curves of any length, round moments, ticks."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_wire.pages.clock_ticks import clock_ticks
from foreshock_wire.pages.svg import nice_ticks, unbroken
from foreshock_wire.pages.thinned import MOST_STEPS, Thinned

NOON = 1_704_110_400_000_000_000
SECOND = 1_000_000_000


def test_a_short_curve_is_exact_in_the_order_of_time() -> None:
    curve = Thinned()
    curve.add(np.array([NOON + 5, NOON, NOON + 9]), np.array([2.0, 1.0, np.nan], np.float32))
    times, values = curve.points()
    assert (curve.step_ns, curve.count) == (0, 2)
    assert times.tolist() == [NOON, NOON + 5]
    assert values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("portion", [1, 97, 100_000])
def test_a_long_curve_keeps_every_steps_least_and_greatest(portion: int) -> None:
    chance = np.random.default_rng(1)
    times = NOON + chance.permutation(100_000) * SECOND
    values = chance.normal(size=len(times))
    values[70_003] = 1e6  # one spike
    curve = Thinned()
    shown = len(times) if portion > 1 else 9_000
    for begin in range(0, shown, portion):
        part = slice(begin, min(begin + portion, shown))
        curve.add(times[part], values[part])
    drawn_at, drawn = curve.points()
    assert MOST_STEPS // 2 < len(np.unique(drawn_at)) <= MOST_STEPS
    assert (curve.first_ns, curve.last_ns) == (times[:shown].min(), times[:shown].max())
    assert (drawn_at >= curve.first_ns).all()
    assert (np.diff(drawn_at) >= 0).all()
    step_of = times[:shown] // curve.step_ns
    for step in np.unique(step_of):
        inside = values[:shown][step_of == step]
        there = drawn[drawn_at // curve.step_ns == step]
        assert (there.min(), there.max()) == (inside.min(), inside.max())


@pytest.mark.parametrize(
    ("span_s", "expected"),
    [
        (20, ["12:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"]),
        (4 * 3600, ["12:00", "13:00", "14:00", "15:00", "16:00"]),
        (13 * 3600, ["12:00", "15:00", "18:00", "21:00", "2024-01-02"]),
        (
            3 * 86_400,
            ["12:00", "2024-01-02", "12:00", "2024-01-03", "12:00", "2024-01-04", "12:00"],
        ),
    ],
)
def test_moments_are_round(span_s: int, expected: list[str]) -> None:
    told = clock_ticks(NOON, NOON + span_s * SECOND)
    assert [text for _, text in told][: len(expected)] == expected
    assert len(told) <= 12


@pytest.mark.parametrize("span_ns", [0, 1, 40 * 365 * 86_400 * SECOND, 1 << 62])
def test_there_are_few_moments_in_any_span(span_ns: int) -> None:
    told = clock_ticks(NOON, NOON + span_ns)
    assert len(told) <= 13
    assert all(NOON <= at <= NOON + span_ns for at, _ in told)


def test_ticks_and_holes() -> None:
    assert nice_ticks(77, 4, 45) == [50, 60, 70]
    assert nice_ticks(-1, 4, -3) == [-3, -2.5, -2, -1.5, -1]
    assert unbroken([0, 1, 2, 9, 10]) == [(0, 3), (3, 5)]
    assert unbroken([0, 1, 2, 9, 10], least=7) == [(0, 5)]
    assert unbroken([]) == [(0, 0)]
