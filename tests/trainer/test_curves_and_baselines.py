"""Curves, intervals and baselines: by hand, against scikit-learn, and where they say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from foreshock_trainer.baselines import single_threshold
from foreshock_trainer.bootstrap import draw_machines, interval, window_intervals
from foreshock_trainer.curves import (
    CURVE_POINTS,
    calibration,
    cost_curve,
    coverage,
    pr_curve,
    recall_by_lead,
    roc_curve,
)
from foreshock_trainer.evaluate import band_figures, window_figures

CHANCE = np.random.default_rng(11)
LABEL = CHANCE.random(3000) < 0.1
SCORE = LABEL * 1.5 + CHANCE.standard_normal(3000)


def test_balanced_accuracy_and_the_random_baseline_by_hand() -> None:
    label = np.array([True, True, False, False, False, False, False, False])
    alarm = np.array([True, False, True, False, False, False, False, False])

    seen = window_figures(label, alarm.astype(float), alarm)

    assert seen.balanced_accuracy == pytest.approx((1 / 2 + 5 / 6) / 2)
    # Two alarms anywhere among eight windows hit 2 * 2/8 failures: F1 = 2 * .5 / (2 + 2).
    assert seen.random_f1 == pytest.approx(0.25)


def test_as_many_alarms_anywhere_really_get_the_random_f1() -> None:
    alarm = SCORE > 1.5
    drawn = [
        metrics.f1_score(LABEL, np.random.default_rng(seed).permutation(alarm))
        for seed in range(40)
    ]
    assert window_figures(LABEL, SCORE, alarm).random_f1 == pytest.approx(np.mean(drawn), abs=0.01)


def test_a_lead_band_leaves_out_what_is_too_near() -> None:
    lead_time_h = np.array([10.0, 24.0, 24.5, 60.0, 72.0, 73.0, np.nan, np.nan])
    alarm = np.array([True, True, True, False, True, True, False, False])

    seen = band_figures(lead_time_h, alarm * 1.0, alarm, nearest_h=24, farthest_h=72)

    assert (seen.windows, seen.positives) == (6, 3)
    assert seen.accuracy == pytest.approx(4 / 6)
    assert seen.balanced_accuracy == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert seen.always_no_accuracy == pytest.approx(0.5)


def test_curves_go_through_scikit_learns_points() -> None:
    roc, pr = roc_curve(LABEL, SCORE), pr_curve(LABEL, SCORE)
    fpr, tpr, _ = metrics.roc_curve(LABEL, SCORE, drop_intermediate=False)
    points = set(zip(fpr.round(9), tpr.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in zip(roc.x, roc.y, strict=True)} <= points
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    precision, recall, _ = metrics.precision_recall_curve(LABEL, SCORE)
    points = set(zip(recall.round(9), precision.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in zip(pr.x, pr.y, strict=True)} <= points
    assert len(roc.x) <= CURVE_POINTS


def test_calibration_by_hand_and_the_brier_score() -> None:
    probability = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    label = np.array([False, False, False, True, True, True])

    seen = calibration(label, probability)

    assert seen.predicted == pytest.approx((0.1, 0.9))
    assert seen.observed == pytest.approx((0.25, 1.0))
    assert seen.windows == (4, 2)
    assert seen.brier == pytest.approx(metrics.brier_score_loss(label, probability))
    assert seen.brier_constant == pytest.approx(0.25)
    assert seen.ece == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


def test_a_probability_of_exactly_one_has_a_bin() -> None:
    seen = calibration(np.array([True, False]), np.array([1.0, 0.0]))
    assert (seen.ece, seen.brier) == (0, 0)


def test_costs_by_hand() -> None:
    label = np.array([True, True, False, False, False, False])
    score = np.array([4.0, 1.0, 3.0, 2.0, 0.0, 0.0])

    seen = cost_curve(label, score, score >= 3)

    # One missed and one false alarm: (k + 1) of the 2k that silence costs.
    assert seen.model[0] == pytest.approx(2 / 2)
    assert seen.model[3] == pytest.approx(11 / 20)
    # Hindsight: k = 1 takes the first row only (1 of 2), k = 10 takes four rows (2 false of 20).
    assert seen.best[0] == pytest.approx(1 / 2)
    assert seen.best[3] == pytest.approx(2 / 20)
    assert seen.always_yes[0] == pytest.approx(4 / 2)
    assert all(best <= model for best, model in zip(seen.best, seen.model, strict=True))


def test_recall_by_lead_time_by_hand() -> None:
    lead_time_h = np.array([1.0, 6.0, 7.0, 12.0, 13.0, np.nan])
    alarm = np.array([True, False, True, True, True, True])

    windows, share = recall_by_lead(lead_time_h, alarm, (0, 6, 12))

    assert windows == (2, 2)
    assert share == (0.5, 1.0)


def test_coverage_counts_the_ends() -> None:
    assert coverage(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([2.0, 3.0])) == 0.5
    assert math.isnan(coverage(np.empty(0), np.empty(0), np.empty(0)))


def test_intervals_are_wider_when_windows_of_a_machine_hang_together() -> None:
    machine = np.repeat(np.arange(20), 150)
    bad = machine < 4
    alarm = LABEL & ~bad

    together = window_intervals(machine, LABEL, alarm)
    apart = window_intervals(np.arange(3000), LABEL, alarm)

    recall = np.count_nonzero(alarm & LABEL) / np.count_nonzero(LABEL)
    assert together["recall"][0] < recall < together["recall"][1]
    widths = [seen["recall"][1] - seen["recall"][0] for seen in (together, apart)]
    assert widths[0] > 2 * widths[1]
    assert together["precision"] == (1, 1)


def test_a_resample_is_counted_as_it_is_weighted() -> None:
    machine = np.repeat([3, 5, 9], [2, 3, 4])
    chosen = np.arange(9) % 2 == 0
    draws = draw_machines(machine, 50, seed=1)

    assert draws.counts(chosen).tolist() == [float(weight[chosen].sum()) for weight in draws]


def test_an_interval_of_nothing_is_nothing() -> None:
    assert all(map(math.isnan, interval(np.array([np.nan]))))


def test_the_single_threshold_finds_the_feature_that_tells_and_its_direction() -> None:
    features = np.column_stack([CHANCE.standard_normal(3000), -SCORE, np.full(3000, np.nan)])

    rule = single_threshold(features, LABEL, 0.05)

    assert rule is not None
    assert (rule.column, rule.sign) == (1, -1)
    figures = rule.figures(features, LABEL)
    assert 0 < figures.fpr < 0.05
    assert figures.f1 > 1.5 * figures.random_f1
    assert rule.text(("noise", "pressure_mean", "dead")).startswith("pressure_mean <= -")


def test_no_threshold_is_an_answer_too() -> None:
    assert single_threshold(np.zeros((20, 2)), np.arange(20) < 2, 0.05) is None
