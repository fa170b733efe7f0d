from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.mqtt.direct import LEAST_GATHER_S, MOST_GATHER_S, WORTH_READING, gathering_s


@pytest.mark.parametrize(
    ("per_s", "gathered_s"), [(10, MOST_GATHER_S), (1_000, 0.008), (50_000, LEAST_GATHER_S)]
)
def test_reads_are_as_far_apart_as_the_rate_is_low(per_s: float, gathered_s: float) -> None:
    assert gathering_s(1.0, round(per_s)) == pytest.approx(gathered_s)


def test_a_small_window_of_the_broker_does_not_bound_the_rate() -> None:
    # Mosquitto's default: never more than 20 messages under way, however long we wait for them.
    gap_s = MOST_GATHER_S
    for _ in range(20):
        gap_s = gathering_s(gap_s, 20)
    assert gap_s == LEAST_GATHER_S


@given(st.floats(0, 1e6), st.integers(0, 1_000_000))
def test_the_wait_is_bounded_whatever_came(elapsed_s: float, messages: int) -> None:
    assert LEAST_GATHER_S <= gathering_s(elapsed_s, messages) <= MOST_GATHER_S


def test_a_steady_flow_is_read_worthwhile_amounts_at_a_time() -> None:
    gap_s, per_s = LEAST_GATHER_S, 2_000
    for _ in range(20):
        gap_s = gathering_s(gap_s, round(per_s * gap_s))
    assert per_s * gap_s == pytest.approx(WORTH_READING, abs=1)
