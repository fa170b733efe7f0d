from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_plant.machine import PERIOD_NS, machine_ids, simulate
from foreshock_plant.parameters import CHANNELS, FAULT_RATES
from foreshock_plant.sensor_faults import (
    FAULTS,
    MAX_LATE_NS,
    MAX_SKEW_NS,
    Faulted,
    Messages,
    Stretch,
    deliver,
    true_messages,
)

Key = tuple[int, int]
Bools = npt.NDArray[np.bool_]
VALUE_LIES = ("drift", "stuck", "spikes")
LONG = 8000
DROP_OUTS = {"silent_channel", "silent_message", "dead_channel"}
faults = st.sets(st.sampled_from(sorted(FAULTS)))
seeds = st.integers(0, 2**32)


@cache
def truth(hours: int = 150) -> Messages:
    return true_messages([simulate(name, seed=3, hours=hours) for name in machine_ids(3)])


@cache
def alone(name: str) -> Faulted:
    return deliver(truth(LONG), seed=1, faults={name: FAULTS[name]})


def only(names: set[str], seed: int) -> Faulted:
    enabled = {name: fault for name, fault in FAULTS.items() if name in names}
    return deliver(truth(), seed=seed, faults=enabled)


def by_key(messages: Messages) -> dict[Key, int]:
    return {
        (int(m), int(t)): i
        for i, (m, t) in enumerate(zip(messages.machine, messages.taken_ns, strict=True))
    }


def first(messages: Messages) -> Messages:
    return messages.take(np.flatnonzero(~messages.copy))


def true_values(messages: Messages, hours: int = 150) -> npt.NDArray[np.float32]:
    true_at = by_key(truth(hours))
    rows = [true_at[key] for key in zip(messages.machine, messages.taken_ns, strict=True)]
    return truth(hours).values[np.array(rows, dtype=np.int64)]


def inside(messages: Messages, one: Stretch) -> Bools:
    found: Bools = messages.machine == messages.machines.index(one.machine)
    found &= (messages.taken_ns >= one.begin_ns) & (messages.taken_ns < one.end_ns)
    return found


def told(messages: Messages, stretches: tuple[Stretch, ...]) -> Bools:
    """Which values the truth beside the messages says are not the truth, bool[n, 5]."""
    found = np.zeros(messages.values.shape, dtype=np.bool_)
    for one in stretches:
        if one.fault in VALUE_LIES:
            found[inside(messages, one), CHANNELS.index(one.channel)] = True
    return found


@given(faults, seeds)
def test_what_arrives_once_and_what_is_missing_add_up_to_what_was_true(
    names: set[str], seed: int
) -> None:
    messages, stretches = only(names, seed)
    once = first(messages)
    assert len(by_key(once)) == len(once)
    there = ~np.isnan(once.values) & ~told(once, stretches)
    np.testing.assert_array_equal(once.values[there], true_values(once)[there])
    assert (~np.isnan(once.values)).any(axis=1).all()
    dropped = truth().readings() - once.readings()
    assert dropped >= 0
    if not names & DROP_OUTS:
        assert dropped == 0


@given(faults, seeds)
def test_only_enabled_faults_are_told_and_each_within_its_machines_life(
    names: set[str], seed: int
) -> None:
    _, stretches = only(names, seed)
    assert {one.fault for one in stretches} <= names
    for one in stretches:
        assert truth().taken_ns.min() <= one.begin_ns < one.end_ns
        assert one.end_ns <= truth().taken_ns.max() + PERIOD_NS
    assert list(stretches) == sorted(stretches, key=lambda one: one.begin_ns)


@given(seeds)
def test_a_stamp_is_the_true_time_but_where_a_skewed_clock_is_told_and_never_given_twice(
    seed: int,
) -> None:
    messages, stretches = deliver(truth(), seed=seed)
    once = first(messages)
    skewed = np.zeros(len(once), dtype=np.bool_)
    for one in stretches:
        if one.fault == "clock_skew":
            skewed |= inside(once, one)
    off_ns = once.time_ns - once.taken_ns
    assert (off_ns[~skewed] == 0).all()
    assert (off_ns[skewed] != 0).all()
    assert np.abs(off_ns).max() <= MAX_SKEW_NS
    assert len(set(zip(once.machine, once.time_ns, strict=True))) == len(once)


@given(seeds)
def test_copies_are_exact_and_never_come_before_their_original(seed: int) -> None:
    delivered, _ = deliver(truth(), seed=seed)
    once = first(delivered)
    original = by_key(once)
    copies = delivered.take(np.flatnonzero(delivered.copy))
    rows = np.array([original[key] for key in by_key(copies)], dtype=np.int64)
    np.testing.assert_array_equal(copies.values, once.values[rows])
    np.testing.assert_array_equal(copies.time_ns, once.time_ns[rows])
    assert (copies.arrival_ns >= once.arrival_ns[rows]).all()


@given(faults, seeds)
def test_lateness_is_bounded_and_the_order_is_that_of_arrival(names: set[str], seed: int) -> None:
    delivered, _ = only(names, seed)
    late = delivered.arrival_ns - delivered.time_ns
    assert late.min() >= (-MAX_SKEW_NS if "clock_skew" in names else 0)
    assert late.max() <= MAX_LATE_NS
    assert (delivered.arrival_ns >= delivered.taken_ns).all()
    assert (np.diff(delivered.arrival_ns) >= 0).all()


def test_without_faults_the_truth_arrives() -> None:
    delivered, stretches = deliver(truth(), seed=1, faults={})
    assert len(delivered) == len(truth())
    assert (delivered.arrival_ns == delivered.time_ns).all()
    assert not stretches


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("silent_message", 0.003, 0.03), ("silent_channel", 0.003, 0.03), ("dead_channel", 0, 0.05)],
)
def test_each_drop_out_takes_its_share(name: str, low: float, high: float) -> None:
    share = 1 - alone(name).messages.readings() / truth(LONG).readings()
    assert low < share < high


@pytest.mark.parametrize("name", VALUE_LIES)
def test_each_lie_is_told_with_its_largest_deviation(name: str) -> None:
    messages, stretches = alone(name)
    assert stretches
    off = messages.values - true_values(messages, LONG)
    assert (told(messages, stretches) | (off == 0)).all()
    for one in stretches:
        own = off[inside(messages, one), CHANNELS.index(one.channel)]
        assert np.abs(own).max() == pytest.approx(abs(one.size), abs=1e-3)


def test_a_stuck_sensor_repeats_its_first_true_value() -> None:
    messages, stretches = alone("stuck")
    true = true_values(messages, LONG)
    for one in stretches:
        rows, channel = inside(messages, one), CHANNELS.index(one.channel)
        assert set(messages.values[rows, channel].tolist()) == {true[rows, channel][0]}


def test_a_spike_is_a_single_value_far_off() -> None:
    messages, stretches = alone("spikes")
    low, _ = FAULT_RATES.spike_share
    true = true_values(messages, LONG)
    for one in stretches:
        rows = inside(messages, one)
        assert rows.sum() == 1
        assert abs(one.size) >= low * true[rows, CHANNELS.index(one.channel)][0] - 1e-3


def test_a_drift_grows_from_nothing_in_one_direction_until_the_sensor_is_calibrated() -> None:
    messages, stretches = alone("drift")
    share = messages.values / true_values(messages, LONG) - 1
    for one in stretches:
        own = share[inside(messages, one), CHANNELS.index(one.channel)]
        assert abs(own[0]) < 1e-4
        assert (np.diff(np.abs(own)) > -1e-3).all()
        assert np.sign(own[-1]) == np.sign(one.size)
        assert abs(own[-1]) <= FAULT_RATES.drift_share[1] + 1e-3


def test_a_skewed_clock_steps_runs_on_and_is_set_right() -> None:
    messages, stretches = alone("clock_skew")
    assert stretches
    off_s = (messages.time_ns - messages.taken_ns) / 1e9
    for one in stretches:
        own = off_s[inside(messages, one)]
        assert abs(own[0]) >= FAULT_RATES.skew_step_s[0]
        assert (np.diff(np.abs(own)) >= -1e-6).all()
        assert own[-1] == pytest.approx(one.size, abs=1e-3)
        after = (messages.machine == messages.machines.index(one.machine)) & (
            messages.taken_ns == one.end_ns
        )
        assert (off_s[after] == 0).all()
    assert {one.channel for one in stretches} == {""}


def test_late_messages_are_few_and_out_of_order() -> None:
    delivered, _ = alone("late")
    late = delivered.arrival_ns > delivered.time_ns
    assert 0 < late.mean() < 0.05
    own = delivered.time_ns[delivered.machine == 0]
    assert (np.diff(own) < 0).any()


def test_a_held_link_lets_go_of_everything_at_once_and_in_order() -> None:
    delivered, stretches = alone("held_back")
    late = delivered.arrival_ns - delivered.time_ns
    assert (late >= 2 * PERIOD_NS).any()
    for machine in range(3):
        assert (np.diff(delivered.time_ns[delivered.machine == machine]) > 0).all()
    held = np.zeros(len(delivered), dtype=np.bool_)
    for one in stretches:
        held |= inside(delivered, one)
    np.testing.assert_array_equal(held, late > 0)


def test_copies_come_at_once_and_later() -> None:
    delivered, _ = alone("repeated")
    pause = (delivered.arrival_ns - delivered.time_ns)[delivered.copy]
    assert (pause == 0).any()
    assert (pause > 0).any()
