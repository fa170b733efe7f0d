from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_plant.machine import PERIOD_NS, machine_ids, simulate
from foreshock_plant.sensor_faults import FAULTS, MAX_LATE_NS, Messages, deliver, true_messages

Key = tuple[int, int]
faults = st.sets(st.sampled_from(sorted(FAULTS)))
seeds = st.integers(0, 2**32)


@cache
def truth(hours: int = 150) -> Messages:
    return true_messages([simulate(name, seed=3, hours=hours) for name in machine_ids(3)])


def alone(name: str) -> Messages:
    return deliver(truth(1500), seed=1, faults={name: FAULTS[name]})


def by_key(messages: Messages) -> dict[Key, int]:
    return {
        (int(m), int(t)): i
        for i, (m, t) in enumerate(zip(messages.machine, messages.time_ns, strict=True))
    }


@given(faults, seeds)
def test_what_arrives_once_and_what_is_missing_add_up_to_what_was_true(
    names: set[str], seed: int
) -> None:
    enabled = {name: fault for name, fault in FAULTS.items() if name in names}
    delivered = deliver(truth(), seed=seed, faults=enabled)
    first = delivered.take(np.flatnonzero(~delivered.copy))
    true_at = by_key(truth())
    assert len(by_key(first)) == len(first)
    rows = np.array([true_at[key] for key in by_key(first)])
    there = ~np.isnan(first.values)
    np.testing.assert_array_equal(first.values[there], truth().values[rows][there])
    assert there.any(axis=1).all()
    dropped = truth().readings() - first.readings()
    assert dropped >= 0
    if not names & {"silent_channel", "silent_message", "dead_channel"}:
        assert dropped == 0


@given(seeds)
def test_copies_are_exact_and_never_come_before_their_original(seed: int) -> None:
    delivered = deliver(truth(), seed=seed)
    first = delivered.take(np.flatnonzero(~delivered.copy))
    original = by_key(first)
    copies = delivered.take(np.flatnonzero(delivered.copy))
    rows = np.array([original[key] for key in by_key(copies)], dtype=np.int64)
    np.testing.assert_array_equal(copies.values, first.values[rows])
    assert (copies.arrival_ns >= first.arrival_ns[rows]).all()


@given(faults, seeds)
def test_lateness_is_bounded_and_the_order_is_that_of_arrival(names: set[str], seed: int) -> None:
    enabled = {name: fault for name, fault in FAULTS.items() if name in names}
    delivered = deliver(truth(), seed=seed, faults=enabled)
    late = delivered.arrival_ns - delivered.time_ns
    assert late.min() >= 0
    assert late.max() <= MAX_LATE_NS
    assert (np.diff(delivered.arrival_ns) >= 0).all()


def test_without_faults_the_truth_arrives() -> None:
    delivered = deliver(truth(), seed=1, faults={})
    assert len(delivered) == len(truth())
    assert (delivered.arrival_ns == delivered.time_ns).all()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("silent_message", 0.003, 0.03), ("silent_channel", 0.003, 0.03), ("dead_channel", 0, 0.05)],
)
def test_each_drop_out_takes_its_share(name: str, low: float, high: float) -> None:
    share = 1 - alone(name).readings() / truth(1500).readings()
    assert low < share < high


def test_late_messages_are_few_and_out_of_order() -> None:
    delivered = alone("late")
    late = delivered.arrival_ns > delivered.time_ns
    assert 0 < late.mean() < 0.05
    own = delivered.time_ns[delivered.machine == 0]
    assert (np.diff(own) < 0).any()


def test_a_held_link_lets_go_of_everything_at_once_and_in_order() -> None:
    delivered = alone("held_back")
    late = delivered.arrival_ns - delivered.time_ns
    assert (late >= 2 * PERIOD_NS).any()
    for machine in range(3):
        assert (np.diff(delivered.time_ns[delivered.machine == machine]) > 0).all()


def test_copies_come_at_once_and_later() -> None:
    delivered = alone("repeated")
    pause = (delivered.arrival_ns - delivered.time_ns)[delivered.copy]
    assert (pause == 0).any()
    assert (pause > 0).any()
