"""Which readings are refused, and that a stamp ahead of a clock that nobody trusts is good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.readings import (
    FLOAT32_MAX,
    LATEST_NS,
    Reading,
    Rejected,
    future_of,
    problems_of,
)


def reading(value: float = 1.0, time_ns: int = 1) -> Reading:
    return Reading("m1", "temperature", time_ns, value)


def problem_of(one: Reading) -> Rejected | None:
    found = problems_of(np.array([one.time_ns], np.int64), np.array([one.value], np.float64))
    return next((reason for reason, refused in found.items() if refused[0]), None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), Rejected.NOT_A_NUMBER),
        (float("inf"), Rejected.NOT_A_NUMBER),
        (float("-inf"), Rejected.NOT_A_NUMBER),
        (1e39, Rejected.OUT_OF_RANGE),
        (-1e39, Rejected.OUT_OF_RANGE),
        (1e300, Rejected.OUT_OF_RANGE),
        (FLOAT32_MAX, None),
        (-0.0, None),
        (1e-300, None),
    ],
)
def test_values(value: float, problem: Rejected | None) -> None:
    assert problem_of(reading(value)) == problem


@pytest.mark.parametrize(
    ("time_ns", "problem"),
    [
        (-1, Rejected.BAD_TIME),
        (0, None),
        (LATEST_NS - 1, None),
        (LATEST_NS, Rejected.BAD_TIME),
        (2**63 - 1, Rejected.BAD_TIME),
    ],
)
def test_times(time_ns: int, problem: Rejected | None) -> None:
    assert problem_of(reading(time_ns=time_ns)) == problem


@given(value=st.floats(), time_ns=st.integers(-(2**63), 2**63 - 1))
def test_what_is_accepted_fits_its_columns(value: float, time_ns: int) -> None:
    if problem_of(reading(value, time_ns)) is None:
        assert np.isfinite(np.float32(value))
        assert 0 <= time_ns < LATEST_NS


@given(now=st.integers(0, 2**61), ahead=st.integers(0, 2**60), stamp=st.integers(0, 2**62))
def test_only_a_trusted_clock_disowns_a_stamp(now: int, ahead: int, stamp: int) -> None:
    stamps, arrived = np.array([stamp]), np.array([now])
    assert future_of(stamps, arrived, ahead, trusted_from_ns=now) == [stamp > now + ahead]
    assert not future_of(stamps, arrived, ahead, trusted_from_ns=now + 1).any()


def test_identity_is_machine_channel_and_time() -> None:
    assert reading(1.0).identity == reading(2.0).identity == ("m1", "temperature", 1)
    assert reading(time_ns=2).identity != reading(time_ns=1).identity
