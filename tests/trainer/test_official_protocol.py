"""The protocol of a data set: one decision per test machine at its end, all windows beside it."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_trainer.datasets.base import Life
from foreshock_trainer.datasets.official import Told, judge_test

HOUR_NS = 3_600_000_000_000


def life(name: str, samples: int, left: int) -> Life:
    none = np.empty(0, np.int64)
    end_ns = samples * HOUR_NS
    return Life(name, none, none, none.astype(np.float32), end_ns, end_ns + left * HOUR_NS)


LIVES = [life("a", 5, 30), life("b", 4, 31), life("c", 3, 0), life("d", 2, 90)]


def told(alarms: dict[tuple[int, int], bool]) -> Told:
    machine, hour = np.array(list(alarms)).T
    alarm = np.array(list(alarms.values()))
    return Told(machine, hour * HOUR_NS, alarm.astype(np.float64), alarm)


def test_the_last_window_of_each_machine_decides_and_thirty_left_still_counts() -> None:
    found = judge_test(
        LIVES, 30.0, told({(0, 5): True, (1, 4): True, (2, 3): True, (3, 2): False, (3, 1): True})
    )
    assert found.primary.positives == 2
    assert found.primary.recall == 1.0
    assert found.primary.precision == pytest.approx(2 / 3)
    assert found.primary.fpr == 0.5
    assert found.primary.always_no_accuracy == 0.5
    assert found.unscored == 0


def test_a_machine_without_a_score_at_its_end_was_not_warned_of() -> None:
    found = judge_test(LIVES, 30.0, told({(0, 4): True, (2, 3): True}))
    assert found.unscored == 3
    assert found.primary.recall == 0.5
    assert found.primary.windows == 4


def test_every_window_is_judged_beside_by_the_same_truth() -> None:
    alarms = {(0, hour): hour >= 4 for hour in range(1, 6)}
    found = judge_test(LIVES, 30.0, told(alarms))
    # Machine a fails 35 h after its begin: only the window at 5 h has 30 left.
    assert (found.all_cycles.windows, found.all_cycles.positives) == (5, 1)
    assert found.all_cycles.precision == 0.5
    assert found.as_json()["all_cycles_f1"] == pytest.approx(2 / 3)


def test_figures_that_have_no_meaning_are_none_in_json() -> None:
    found = judge_test(LIVES[3:], 30.0, told({(0, 2): False})).as_json()
    assert (found["f1"], found["recall"], found["all_cycles_f1"]) == (None, None, None)
    assert (found["fpr"], found["always_no_accuracy"]) == (0.0, 1.0)
