"""Affiliation metrics against cases that were worked by hand, and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_trainer.affiliation import Span, affiliation, spans_of
from foreshock_wire.errors import ForeshockError

EVENT = [(40.0, 60.0)]


def test_what_was_predicted_exactly_is_perfect() -> None:
    seen = affiliation(EVENT, EVENT, 0, 100)
    assert (seen.precision, seen.recall, seen.f1) == (1, 1, 1)


def test_nothing_predicted_has_no_precision_and_no_recall() -> None:
    seen = affiliation([], EVENT, 0, 100)
    assert math.isnan(seen.precision)
    assert seen.recall == 0


def test_a_prediction_beside_the_event_by_hand() -> None:
    """Predicted 20 to 30, event 40 to 60, time 0 to 100.

    Precision: at x the distance is d = 40 - x, and (40 - d) + (40 - d) = 2x of 100 is no nearer;
    the mean of 2x / 100 over 20 to 30 is .5. Recall: y in 40 to 60 is y - 30 from the prediction;
    30 of 100 lies at least as far on the left, 100 - (2y - 30) = 130 - 2y on the right; the mean of
    (160 - 2y) / 100 over 40 to 60 is .6.
    """
    seen = affiliation([(20, 30)], EVENT, 0, 100)
    assert seen.precision == pytest.approx(0.5)
    assert seen.recall == pytest.approx(0.6)
    assert seen.f1 == pytest.approx(2 * 0.5 * 0.6 / 1.1)


def test_a_prediction_of_everything_by_hand() -> None:
    """Precision is 20 inside at 1, and 80 outside at a mean of .4: (20 + 32) / 100; recall is 1."""
    seen = affiliation([(0, 100)], EVENT, 0, 100)
    assert seen.precision == pytest.approx(0.52)
    assert seen.recall == pytest.approx(1)


def test_each_event_has_its_zone_and_a_silent_one_counts_in_recall_only() -> None:
    """The zones of events 10 to 20 and 60 to 70 meet at 40."""
    seen = affiliation([(10, 20)], [(10, 20), (60, 70)], 0, 100)
    assert seen.precision == 1
    assert seen.recall == 0.5


def test_a_prediction_across_zones_is_cut_between_them() -> None:
    whole = affiliation([(30, 50)], [(10, 20), (60, 70)], 0, 100)
    cut = affiliation([(30, 40), (40, 50)], [(10, 20), (60, 70)], 0, 100)
    assert whole == cut


def test_a_prediction_far_from_the_event_is_worse_than_one_nearby() -> None:
    far, near = (affiliation([span], EVENT, 0, 100) for span in ((0.0, 5.0), (35.0, 40.0)))
    assert far.precision < near.precision
    assert far.recall < near.recall


@pytest.mark.parametrize(
    ("predicted", "events"),
    [([], []), ([(5.0, 5.0)], EVENT), ([(9.0, 12.0), (11.0, 13.0)], EVENT), ([], [(90.0, 101.0)])],
)
def test_what_is_no_list_of_intervals_is_refused(predicted: list[Span], events: list[Span]) -> None:
    with pytest.raises(ForeshockError, match=r"event|intervals"):
        affiliation(predicted, events, 0, 100)


def test_flags_become_intervals() -> None:
    assert spans_of(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert spans_of(np.zeros(3, np.bool_)) == []


def brute(predicted: list[Span], event: Span, zone: Span, cells: int) -> tuple[float, float]:
    """The definition on a fine grid: every pair of instants is compared."""
    t = zone[0] + (np.arange(cells) + 0.5) * (zone[1] - zone[0]) / cells
    said = np.any([(a <= t) & (t < b) for a, b in predicted], axis=0)
    true = (event[0] <= t) & (t < event[1])
    to_event = np.maximum(np.maximum(event[0] - t, t - event[1]), 0)
    precision = np.mean(
        [1.0 if true[i] else np.mean(to_event >= to_event[i]) for i in np.flatnonzero(said)]
    )
    recalls = []
    for i in np.flatnonzero(true):
        away = 0.0 if said[i] else np.abs(t[said] - t[i]).min()
        recalls.append(np.mean(np.abs(t - t[i]) >= away))
    return float(precision), float(np.mean(recalls))


@given(st.lists(st.integers(0, 50), min_size=4, max_size=8, unique=True))
def test_it_equals_the_definition(edges: list[int]) -> None:
    *said, begin, end = sorted(edges)[: len(edges) // 2 * 2]
    shuffled = [(2.0 * a, 2.0 * b) for a, b in zip(said[::2], said[1::2], strict=True)]
    # The event lies anywhere among the predictions: mirrored, too.
    event = (2.0 * begin, 2.0 * end)
    mirrored = sorted((100 - b, 100 - a) for a, b in shuffled)
    for predicted, true in ((shuffled, event), (mirrored, (100 - event[1], 100 - event[0]))):
        seen = affiliation(predicted, [true], 0, 100)
        precision, recall = brute(predicted, true, (0, 100), 800)
        assert seen.precision == pytest.approx(precision, abs=0.02)
        assert seen.recall == pytest.approx(recall, abs=0.02)
