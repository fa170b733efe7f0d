"""When a signed directive may be followed: laws over every clock, and the cases with a name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.clock import PLAUSIBLE_NS
from foreshock_agent.update.errors import DeferredError
from foreshock_agent.update.times import SKEW_NS, Validity, admit

DAY = 86_400 * 10**9
NOW = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 10**9
FRESH = Validity(NOW - DAY, {"directive": NOW + 6 * DAY, "timestamp metadata": NOW + 2 * DAY})

times = st.integers(0, 4 * 10**18)
validities = st.builds(
    lambda issued, one, two: Validity(issued, {"directive": one, "root metadata": two}),
    times,
    times,
    times,
)


@given(times, times, validities)
def test_what_is_followed_is_timely_by_clock_and_floor_and_raises_it_to_a_signed_time(
    now_ns: int, floor_ns: int, validity: Validity
) -> None:
    try:
        floor = admit(now_ns, floor_ns, validity)
    except DeferredError:
        return
    assert floor == max(floor_ns, validity.issued_ns)
    assert now_ns >= PLAUSIBLE_NS
    assert now_ns + SKEW_NS >= floor
    assert all(max(now_ns, floor_ns) < expires for expires in validity.expires_ns.values())


@given(times, validities)
def test_no_clock_raises_the_floor_beyond_what_was_signed(now_ns: int, validity: Validity) -> None:
    try:
        assert admit(now_ns, 0, validity) == validity.issued_ns
    except DeferredError:
        return


def test_a_fresh_directive_is_followed() -> None:
    assert admit(NOW, NOW - 3 * DAY, FRESH) == FRESH.issued_ns


@pytest.mark.parametrize("behind_ns", [SKEW_NS, SKEW_NS - 1, 0])
def test_clocks_that_are_a_little_apart_are_no_reason(behind_ns: int) -> None:
    assert admit(FRESH.issued_ns - behind_ns, 0, FRESH) == FRESH.issued_ns


@pytest.mark.parametrize(
    ("now_ns", "floor_ns", "reason"),
    [
        (0, 0, "clock says 1970-01-01T00:00:00Z: it waits for the time"),
        (NOW - 2 * DAY, 0, "something was signed at 2026-11-19T00:00:00Z: set the clock"),
        (NOW, NOW + DAY, "something was signed at 2026-11-21T00:00:00Z: set the clock"),
        (NOW + 3 * DAY, 0, "the timestamp metadata expired at 2026-11-22T00:00:00Z"),
        (4_070_908_800 * 10**9, 0, "clock says 2099-01-01T00:00:00Z: the clock is ahead"),
    ],
)
def test_a_clock_that_cannot_be_right_or_time_that_is_out_is_told(
    now_ns: int, floor_ns: int, reason: str
) -> None:
    with pytest.raises(DeferredError, match=reason):
        admit(now_ns, floor_ns, FRESH)
