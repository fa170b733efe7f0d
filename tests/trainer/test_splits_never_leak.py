"""No machine on both sides; test machines are permanent; time is split with an embargo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_trainer.splits import (
    TEST_SHARE,
    VALIDATION_SHARE,
    Split,
    SplitError,
    before_and_after,
    is_test_machine,
    refuse_overlap,
    rows_of,
    split_machines,
)

FLEET = [f"pump-{i:04d}" for i in range(2000)]
RELEASED_TEST_MACHINES = ["pump-0000", "pump-0004", "pump-0012", "pump-0016", "pump-0017"]
"""A change here would let machines train that judged earlier models."""


def test_shares_are_about_as_stated() -> None:
    split = split_machines(FLEET)

    assert len(split.test) / len(FLEET) == pytest.approx(TEST_SHARE, abs=0.03)
    rest = len(split.train) + len(split.validation)
    assert len(split.validation) / rest == pytest.approx(VALIDATION_SHARE, abs=0.03)


@settings(deadline=None)
@given(st.sets(st.sampled_from(FLEET), min_size=60))
def test_a_machine_keeps_its_side_whatever_else_is_in_the_fleet(some: set[str]) -> None:
    whole, part = split_machines(FLEET), split_machines(some)

    assert set(part.test) == set(whole.test) & some
    assert set(part.train) == set(whole.train) & some
    assert {*part.train, *part.validation, *part.test} == some


def test_released_sides_never_change() -> None:
    assert [name for name in FLEET[:30] if is_test_machine(name)] == RELEASED_TEST_MACHINES


def test_a_fleet_too_small_to_judge_is_refused_by_name() -> None:
    with pytest.raises(SplitError, match=r"1 machines leave no .*record more machines"):
        split_machines(["pump-0001"])


def test_a_machine_on_both_sides_is_refused_by_name() -> None:
    with pytest.raises(SplitError, match="pump-2"):
        refuse_overlap(["pump-1", "pump-2"], ["pump-3"], ["pump-2"])
    with pytest.raises(SplitError, match="pump-1"):
        Split(("pump-1",), ("pump-2",), ("pump-1",))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=50),
    st.integers(0, 10_000),
    st.integers(0, 500),
)
def test_no_window_and_no_label_crosses_the_embargo(
    ends: list[int], cut: int, embargo: int
) -> None:
    end_ns = np.array(ends, np.int64)

    before, after = before_and_after(end_ns, cut, embargo)

    assert not (before & after).any()
    if before.any() and after.any():
        assert end_ns[after].min() - end_ns[before].max() > embargo
    with pytest.raises(SplitError, match="negative"):
        before_and_after(end_ns, cut, -1)


def test_rows_are_those_of_the_groups_machines() -> None:
    machine = np.array([0, 0, 1, 2, 2])

    assert rows_of(machine, ("a", "b", "c"), ["c", "a"]).tolist() == [True, True, False, True, True]
