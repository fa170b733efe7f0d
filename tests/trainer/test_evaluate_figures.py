"""Figures against hand-computed values, and against scikit-learn on random scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from foreshock_trainer.evaluate import (
    HOURS_PER_MONTH,
    NS_PER_HOUR,
    Scored,
    event_figures,
    pr_auc,
    report,
    roc_auc,
    window_figures,
)

CASES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


def test_window_figures_by_hand() -> None:
    label = np.array([True, True, True, False, False, False, False, False, False, False])
    alarm = np.array([True, True, False, True, False, False, False, False, False, False])

    seen = window_figures(label, alarm.astype(float), alarm)

    assert seen.precision == pytest.approx(2 / 3)
    assert seen.recall == pytest.approx(2 / 3)
    assert seen.f1 == pytest.approx(2 / 3)
    assert seen.fpr == pytest.approx(1 / 7)
    assert seen.accuracy == pytest.approx(0.8)
    assert seen.always_no_accuracy == pytest.approx(0.7)
    assert seen.always_no_f1 == 0
    assert seen.always_yes_f1 == pytest.approx(6 / 13)
    assert (seen.windows, seen.positives, seen.prevalence) == (10, 3, 0.3)


@settings(deadline=None)
@given(CASES)
def test_figures_equal_scikit_learns(rows: list[tuple[bool, int, int]]) -> None:
    label = np.array([row[0] for row in rows])
    score = np.array([row[1] for row in rows], np.float64)
    weight = np.array([row[2] for row in rows], np.float64)
    alarm = score >= 3

    seen = window_figures(label, score, alarm)

    assert seen.pr_auc == pytest.approx(metrics.average_precision_score(label, score))
    assert seen.roc_auc == pytest.approx(metrics.roc_auc_score(label, score))
    assert seen.f1 == pytest.approx(metrics.f1_score(label, alarm, zero_division=0))
    assert seen.accuracy == pytest.approx(metrics.accuracy_score(label, alarm))
    if (weight * label).sum() > 0:
        expected = metrics.average_precision_score(label, score, sample_weight=weight)
        assert pr_auc(label, score, weight) == pytest.approx(expected)


def test_a_figure_without_meaning_is_nan_and_is_not_told() -> None:
    nobody = np.zeros(4, np.bool_)

    assert math.isnan(roc_auc(nobody, np.arange(4.0)))
    assert math.isnan(pr_auc(nobody, np.arange(4.0)))
    scored = Scored(np.zeros(4, int), np.arange(4), nobody, np.zeros(4, int), np.arange(4.0))
    flat = report(scored, 10.0, NS_PER_HOUR).flat()
    assert "roc_auc" not in flat
    assert "event_recall" not in flat
    assert flat["accuracy"] == 1


def two_machines() -> Scored:
    """Machine 0 fails at 10 h (horizon 4 h), machine 1 fails at 20 h; a window ends every hour."""
    hours = np.concatenate([np.arange(11), np.arange(21)])
    machine = np.repeat([0, 1], [11, 21])
    failure = np.where(machine == 0, 10, 20)
    label = failure - hours <= 4
    return Scored(
        machine, hours * NS_PER_HOUR, label, np.where(label, failure, 0) * NS_PER_HOUR, hours * 0.0
    )


def alarms_at(scored: Scored, *at: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    pairs = zip(scored.machine, scored.end_ns // NS_PER_HOUR, strict=True)
    return np.array([(int(m), int(h)) in at for m, h in pairs])


def test_event_figures_by_hand() -> None:
    scored = two_machines()
    # Machine 0: one false episode of two windows, then an alarm 3 h ahead. Machine 1: missed, and
    # one false episode.
    alarm = alarms_at(scored, (0, 2), (0, 3), (0, 7), (0, 9), (1, 5))

    seen = event_figures(scored, alarm, NS_PER_HOUR)

    assert seen.failures == 2
    assert seen.recall == 0.5
    assert seen.lead_time_h_p50 == 3
    assert (seen.false_alarms, seen.early) == (2, 0)
    assert seen.machine_months == pytest.approx((6 + 16) / HOURS_PER_MONTH)
    assert seen.false_alarms_per_machine_month == pytest.approx(2 * HOURS_PER_MONTH / 22)


def test_an_alarm_that_runs_into_the_horizon_is_false_but_early() -> None:
    scored = two_machines()
    alarm = alarms_at(scored, *((0, h) for h in range(4, 11)))

    seen = event_figures(scored, alarm, NS_PER_HOUR)

    assert (seen.false_alarms, seen.early) == (1, 1)
    assert seen.lead_time_h_p50 == 4


def test_an_episode_does_not_run_on_into_the_next_machine() -> None:
    scored = two_machines()
    alarm = alarms_at(scored, (0, 10), (1, 0))

    seen = event_figures(scored, alarm, NS_PER_HOUR)

    assert (seen.false_alarms, seen.early) == (1, 0)
