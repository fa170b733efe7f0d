"""Platt's line, the threshold under a false-positive cap, and the conformal shift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from foreshock_trainer.calibrate import (
    CalibrationError,
    best_threshold,
    cheapest_threshold,
    conformal_shift,
    platt_line,
)
from foreshock_trainer.evaluate import window_figures

RNG = np.random.default_rng(1)


def test_platts_line_is_the_logistic_regression_of_the_margin() -> None:
    margin = RNG.normal(0, 3, 4000)
    label = RNG.random(4000) < 1 / (1 + np.exp(-(0.6 * margin - 2)))

    a, b = platt_line(margin, label)

    oracle = LogisticRegression(C=1e9).fit(margin[:, None], label)
    assert a == pytest.approx(oracle.coef_[0, 0], abs=0.01)
    assert b == pytest.approx(oracle.intercept_[0], abs=0.02)


def test_separated_classes_keep_a_finite_slope() -> None:
    a, b = platt_line(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))

    assert 0 < a < 10
    assert np.isfinite(b)


@pytest.mark.parametrize(
    ("margin", "label", "message"),
    [
        ([1.0, 2.0], [False, False], "0 before a failure"),
        ([2.0, 1.9, -1.0, -2.0], [False, False, True, True], "fewer failures"),
    ],
)
def test_what_cannot_calibrate_is_refused(
    margin: list[float], label: list[bool], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        platt_line(np.array(margin), np.array(label))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=30),
    st.sampled_from([0.05, 0.3, 0.9]),
)
def test_no_other_threshold_under_the_cap_has_a_better_f1(
    rows: list[tuple[bool, int]], cap: float
) -> None:
    label = np.array([row[0] for row in rows])
    margin = np.array([float(row[1]) for row in rows])
    every = [window_figures(label, margin, margin >= limit) for limit in np.unique(margin)]
    allowed = [
        f.f1 for f in every if f.recall > 0 and (np.isnan(f.fpr) or f.fpr < cap) and f.positives
    ]
    if not allowed:
        with pytest.raises(CalibrationError):
            best_threshold(margin, label, cap)
        return

    limit = best_threshold(margin, label, cap)

    assert window_figures(label, margin, margin >= limit).f1 == pytest.approx(max(allowed))
    assert limit not in margin


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=30),
    st.sampled_from([0.5, 2.0, 30.0]),
)
def test_no_other_threshold_costs_less_and_one_not_worth_it_is_refused(
    rows: list[tuple[bool, int]], miss_cost: float
) -> None:
    label = np.array([row[0] for row in rows])
    margin = np.array([float(row[1]) for row in rows])

    def cost(limit: float) -> float:
        missed, false = label & (margin < limit), ~label & (margin >= limit)
        return miss_cost * np.count_nonzero(missed) + np.count_nonzero(false)

    least = min(cost(limit) for limit in np.unique(margin))
    if not least < miss_cost * np.count_nonzero(label):
        with pytest.raises(CalibrationError, match="--miss-cost"):
            cheapest_threshold(margin, label, miss_cost)
        return

    limit = cheapest_threshold(margin, label, miss_cost)

    assert cost(limit) == least
    assert limit not in margin


def test_shifted_quantiles_cover_what_they_say() -> None:
    quantiles = (0.05, 0.5, 0.95)
    actual = RNG.uniform(0, 48, 4000)
    too_narrow = np.stack([actual + RNG.normal(d, 4, 4000) for d in (-1, 2, 1)], axis=1)
    shift = np.array(conformal_shift(too_narrow[:2000], actual[:2000], quantiles))

    below = (actual[2000:, None] <= too_narrow[2000:] + shift).mean(axis=0)

    assert below == pytest.approx(quantiles, abs=0.02)


def test_a_handful_of_failures_shifts_nothing() -> None:
    assert conformal_shift(np.zeros((5, 3)), np.full(5, 9.0), (0.05, 0.5, 0.95)) == (0, 0, 0)
