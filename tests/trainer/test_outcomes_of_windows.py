"""Labels and censoring, by hand: windows of 10 h, a horizon of 20 h, one end per hour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_trainer.outcomes import Event, Fate, Outcomes, due_times, outcomes

HOUR = 3_600_000_000_000
WINDOW_H, HORIZON_H = 10, 20


def event(hour: float, kind: str, mode: str = "") -> Event:
    return Event(round(hour * HOUR), kind, mode)


def judge(*events: Event, hours: int = 200, due_later_h: float = 0.0) -> Outcomes:
    end_ns = np.arange(hours + 1, dtype=np.int64) * HOUR
    return outcomes(
        end_ns,
        end_ns + round(due_later_h * HOUR),
        events,
        length_ns=WINDOW_H * HOUR,
        horizon_ns=HORIZON_H * HOUR,
        last_reading_ns=hours * HOUR,
    )


def hours_of(seen: Outcomes, fate: Fate) -> list[int]:
    return np.flatnonzero(seen.fate == fate).tolist()


def test_a_window_is_positive_for_one_horizon_before_a_failure() -> None:
    seen = judge(event(100, "failure", "bearing"), event(110, "repaired"))

    assert np.flatnonzero(seen.label).tolist() == list(range(80, 101))
    assert seen.failure_ns[[0, 80, 100]].tolist() == [100 * HOUR] * 3
    assert seen.failure_ns[111:].tolist() == [0] * 90


def test_downtime_runs_from_the_failure_to_the_repair() -> None:
    seen = judge(event(100, "failure"), event(115, "repaired"))

    assert hours_of(seen, Fate.DOWNTIME) == list(range(101, 116))
    assert hours_of(seen, Fate.MIXED) == list(range(116, 125))
    assert hours_of(seen, Fate.EXAMPLE)[-1] == 200 - HORIZON_H


def test_without_a_repair_the_machine_stays_down() -> None:
    seen = judge(event(100, "failure"))

    assert hours_of(seen, Fate.DOWNTIME) == list(range(101, 201))


def test_before_a_maintenance_nobody_knows_what_would_have_been() -> None:
    seen = judge(event(100, "maintenance"))

    assert hours_of(seen, Fate.INTERVENED) == list(range(81, 101))
    assert hours_of(seen, Fate.MIXED) == list(range(101, 110))
    assert not seen.label.any()


def test_a_failure_after_a_maintenance_is_another_lifes() -> None:
    seen = judge(event(100, "maintenance"), event(112, "failure"), event(120, "repaired"))

    assert not seen.label[:101].any()
    assert seen.label[101:113].all()
    assert hours_of(seen, Fate.INTERVENED) == list(range(81, 101))
    assert (seen.failure_ns[:101] == 0).all()


def test_a_failure_before_the_maintenance_counts() -> None:
    seen = judge(event(100, "failure"), event(104, "repaired"), event(105, "maintenance"))

    assert seen.label[80:101].all()
    assert set(seen.fate[80:101]) == {Fate.EXAMPLE}


def test_the_last_horizon_of_what_was_observed_has_no_label() -> None:
    assert hours_of(judge(), Fate.UNOBSERVED) == list(range(181, 201))
    shorter = judge(event(150, "observed_until"))
    assert hours_of(shorter, Fate.UNOBSERVED) == list(range(131, 201))


def test_a_failure_is_a_label_even_where_observation_ends() -> None:
    seen = judge(event(195, "failure"), event(196, "observed_until"))

    assert seen.label[175:196].all()
    assert set(seen.fate[175:196]) == {Fate.EXAMPLE}


def test_a_window_that_is_due_only_after_the_failure_warns_nobody() -> None:
    seen = judge(event(100, "failure"), event(110, "repaired"), due_later_h=3)

    assert hours_of(seen, Fate.TOO_LATE) == [98, 99, 100]


def test_a_window_is_due_when_a_reading_passes_its_end_and_the_lateness() -> None:
    times = np.array([1, 2, 6, 3, 4, 9], np.int64)

    assert due_times(np.array([2, 3, 7], np.int64), times, 0).tolist() == [2, 6, 9]
    assert due_times(np.array([2], np.int64), times, 5).tolist() == [9]
    assert due_times(np.array([10], np.int64), times, 0)[0] > 10**18


KINDS = st.sampled_from(["failure", "repaired", "maintenance", "installed", "observed_until"])


@settings(deadline=None)
@given(st.lists(st.builds(event, st.integers(0, 200), KINDS), max_size=12))
def test_labels_agree_with_the_definition_window_by_window(events: list[Event]) -> None:
    seen = judge(*events)

    for hour in range(0, 201, 7):
        end = hour * HOUR
        failures = [e.time_ns for e in events if e.kind == "failure" and e.time_ns >= end]
        mended = [
            e.time_ns
            for e in events
            if e.kind in ("repaired", "maintenance", "installed") and e.time_ns >= end
        ]
        failed = min(failures, default=2**62)
        expected = failed <= end + HORIZON_H * HOUR and failed <= min(mended, default=2**62)
        assert seen.label[hour] == expected
        if seen.fate[hour] == Fate.EXAMPLE and not expected:
            assert min(failures + mended, default=2**62) >= end + HORIZON_H * HOUR


def test_outcomes_are_taken_by_mask() -> None:
    seen = judge(event(100, "failure"))

    assert seen.take(seen.label).label.tolist() == [True] * 21
    assert pytest.approx(seen.take(seen.label).failure_ns / HOUR) == 100
