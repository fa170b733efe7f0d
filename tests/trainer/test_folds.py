"""Cross-validation: every machine tests once, by a hash, and lead times are judged where shown."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_trainer.crossvalidate import lead_time_figures
from foreshock_trainer.examples import Examples
from foreshock_trainer.splits import SplitError, folds_of

HOUR_NS = 3_600_000_000_000
NAMES = [f"engine-{i:03d}" for i in range(43)]


def test_each_machine_tests_once_and_never_in_the_fold_that_it_trains() -> None:
    folds = folds_of(NAMES, 5)
    assert sorted(name for fold in folds for name in fold.test) == NAMES
    for fold in folds:
        assert sorted((*fold.train, *fold.validation, *fold.test)) == NAMES
        assert len(fold.validation) == pytest.approx((43 - len(fold.test)) / 4, abs=1)
        assert abs(len(fold.test) - 43 / 5) < 1


def test_neighbours_by_name_are_not_dealt_out_in_turn() -> None:
    first = folds_of(NAMES, 5)[0].test
    gaps = np.diff([NAMES.index(name) for name in first])
    assert len(set(gaps.tolist())) > 2


def test_the_folds_do_not_depend_on_the_order_of_the_names() -> None:
    assert folds_of(NAMES, 4) == folds_of(reversed(NAMES), 4)


def test_too_few_machines_for_the_folds_are_refused_with_the_number_needed() -> None:
    with pytest.raises(SplitError, match="20 are needed"):
        folds_of(NAMES[:19], 5)


def examples(lead_h: list[float]) -> Examples:
    count = len(lead_h)
    failure_ns = np.array([0 if np.isnan(h) else (100 + int(h)) * HOUR_NS for h in lead_h])
    return Examples(
        windows=np.zeros((count, 1, 1), np.float32),
        end_ns=np.full(count, 100 * HOUR_NS),
        machine=np.zeros(count, np.int64),
        label=np.ones(count, np.bool_),
        failure_ns=failure_ns,
        mode=np.zeros(count, np.int64),
        mixed=np.zeros(count, np.bool_),
        machines=("m",),
        modes=("wear",),
        dropped={},
    )


def test_an_interval_is_judged_on_windows_that_alarm_before_a_known_failure() -> None:
    seen = examples([10, 20, 30, 40, np.nan])
    predicted = np.array([[5, 10, 15], [5, 10, 15], [30, 33, 40], [0, 0, 0], [0, 0, 0]], np.float32)
    alarm = np.array([True, True, True, False, True])
    found = lead_time_figures(seen, alarm, predicted)
    assert found.windows == 3
    assert found.coverage == pytest.approx(2 / 3)
    assert found.error_h_p50 == 3
    assert found.error_h_mean == pytest.approx(13 / 3)
    assert found.width_h_p50 == 10


def test_without_an_alarm_there_is_nothing_to_tell() -> None:
    found = lead_time_figures(examples([10]), np.zeros(1, np.bool_), np.zeros((1, 3), np.float32))
    assert found.windows == 0
    assert np.isnan(found.coverage)
