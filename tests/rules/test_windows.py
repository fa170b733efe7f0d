"""Windows: what they hold, when they are due, and that edge and centre cut the very same ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.watermark import Watermark
from foreshock_rules.windows import Windower, WindowSpec
from tests.rules.reference import (
    SPECS,
    Arrival,
    any_arrivals,
    bulk,
    incremental,
    punctual_arrivals,
    reference,
)

PAIRS = SPECS.flatmap(lambda spec: st.tuples(st.just(spec), any_arrivals(spec)))
PUNCTUAL = SPECS.flatmap(lambda spec: st.tuples(st.just(spec), punctual_arrivals(spec)))


@given(pair=PAIRS)
def test_a_windower_does_what_its_words_say(pair: tuple[WindowSpec, list[Arrival]]) -> None:
    assert incremental(*pair) == reference(*pair)


@given(pair=PAIRS)
def test_the_centre_cuts_the_windows_of_the_edge(pair: tuple[WindowSpec, list[Arrival]]) -> None:
    assert bulk(*pair) == incremental(*pair)[1]


@given(pair=PAIRS)
def test_a_window_is_due_once_and_never_again(pair: tuple[WindowSpec, list[Arrival]]) -> None:
    spec, arrivals = pair
    ends = [end for end, _ in incremental(spec, arrivals)[1]]
    assert ends == sorted(set(ends))
    assert all(end % spec.stride_ns == 0 for end in ends)


@given(pair=PAIRS, more=st.data())
def test_late_readings_never_rescore(
    pair: tuple[WindowSpec, list[Arrival]], more: st.DataObject
) -> None:
    """What was due stays due with the same bits, whatever arrives afterwards."""
    spec, arrivals = pair
    after = more.draw(any_arrivals(spec, max_size=15))
    before_only = incremental(spec, arrivals)[1]
    assert incremental(spec, arrivals + after)[1][: len(before_only)] == before_only


@given(case=PUNCTUAL)
def test_within_the_lateness_order_does_not_matter(
    case: tuple[WindowSpec, tuple[list[Arrival], list[Arrival]]],
) -> None:
    spec, (in_time, arrived) = case
    late, windows = incremental(spec, arrived)
    assert not any(late)
    # The first reading to arrive says where the grid begins, and it need not be the oldest.
    begin = (arrived[0].time_ns - spec.lateness_ns) // spec.stride_ns * spec.stride_ns
    assert windows == [w for w in incremental(spec, in_time)[1] if w[0] > begin]


@given(pair=PAIRS, data=st.data())
def test_a_restart_rebuilds_the_windows_from_the_stored_tail(
    pair: tuple[WindowSpec, list[Arrival]], data: st.DataObject
) -> None:
    spec, arrivals = pair
    cut = data.draw(st.integers(0, len(arrivals)))
    stored, coming = arrivals[:cut], arrivals[cut:]
    newest = max((arrival.time_ns for arrival in stored), default=0)
    tail = [arrival for arrival in stored if arrival.time_ns >= newest - spec.history_ns]
    late, windows = incremental(spec, arrivals)
    late_again, windows_again = incremental(spec, tail + coming)
    already_due = len(incremental(spec, stored)[1])
    due_in_tail = len(incremental(spec, tail)[1])
    assert windows_again[due_in_tail:] == windows[already_due:]
    assert late_again[len(tail) :] == late[cut:]


@given(spec=SPECS, times=st.lists(st.integers(0, 2**62), min_size=1))
def test_a_watermark_only_moves_forward(spec: WindowSpec, times: list[int]) -> None:
    watermark, seen = Watermark(spec.lateness_ns), list[int]()
    assert watermark.time_ns is None
    for time_ns in times:
        moved = watermark.advance(time_ns)
        now = watermark.time_ns
        assert now == max([*seen, time_ns]) - spec.lateness_ns
        assert moved == (not seen or time_ns > max(seen))
        seen.append(time_ns)


@pytest.mark.parametrize("gap_slots", [5, 100, 10**6])
def test_windows_that_hold_nothing_are_not_made(gap_slots: int) -> None:
    spec = WindowSpec(("a",), period_ns=10, length=4, stride=2, min_fill=0.01)
    arrivals = [Arrival(0, 0, 1.0), Arrival(0, 10, 2.0), Arrival(0, gap_slots * 10, 3.0)]
    ends = [end for end, _ in incremental(spec, arrivals)[1]]
    assert ends == [end for end in (20, 40) if end <= gap_slots * 10]
    assert bulk(spec, arrivals) == incremental(spec, arrivals)[1]


def test_a_window_of_the_demo_plant() -> None:
    hour = 3_600_000_000_000
    spec = WindowSpec(("t", "p"), period_ns=hour // 2, length=48, stride=4)
    start = 1_704_067_200_000_000_000
    windower, due = Windower(spec), []
    for i in range(97):
        for channel in range(2):
            due += windower.add(channel, start + i * spec.period_ns, float(i))[1]
    # The first half-filled window covers 24 of 48 samples; then one every two hours.
    assert [(window.end_ns - start) // hour for window in due] == list(range(12, 49, 2))
    assert due[-1].values[:, 0].tolist() == list(range(48, 96))
    assert np.isnan(due[0].values[:24]).all()


def test_a_window_that_was_handed_out_is_nobody_elses() -> None:
    spec = WindowSpec(("a",), period_ns=1, length=2, stride=1, min_fill=0.5)
    windower = Windower(spec)
    first = [w for t in range(3) for w in windower.add(0, t, float(t))[1]][-1]
    before = first.values.copy()
    for t in range(3, 30):
        windower.add(0, t, 99.0)
    assert first.values.tobytes() == before.tobytes()
