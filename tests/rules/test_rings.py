"""All machines' windows at once are what one `Windower` each gives, however batches are cut."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.rings import NEVER, NO_CHANNEL, Rings
from foreshock_rules.windows import Windower, WindowSpec
from tests.rules.reference import SPECS, Arrival, any_arrivals

MACHINES = 3
Found = list[tuple[int, int, int, bytes]]


@st.composite
def stories(draw: st.DrawFn) -> tuple[WindowSpec, list[tuple[int, Arrival]], list[int]]:
    """Readings of several machines, interleaved, and where the batches are cut."""
    spec = draw(SPECS)
    tracks = [draw(any_arrivals(spec, max_size=40)) for _ in range(MACHINES)]
    turns = draw(st.permutations([m for m, track in enumerate(tracks) for _ in track]))
    left = [iter(track) for track in tracks]
    rows = [(machine, next(left[machine])) for machine in turns]
    strange = draw(st.sets(st.integers(0, max(len(rows) - 1, 0)), max_size=5))
    rows = [
        (machine, arrival._replace(channel=NO_CHANNEL) if at in strange else arrival)
        for at, (machine, arrival) in enumerate(rows)
    ]
    cuts = draw(st.lists(st.integers(0, len(rows)), max_size=6))
    return spec, rows, sorted({0, len(rows), *cuts})


def one_by_one(spec: WindowSpec, rows: list[tuple[int, Arrival]]) -> tuple[list[bool], Found]:
    windowers = [Windower(spec) for _ in range(MACHINES)]
    late, due = list[bool](), list[Any]()
    for at, (machine, arrival) in enumerate(rows):
        late.append(windowers[machine].is_late(arrival.time_ns))
        if arrival.channel != NO_CHANNEL:
            _, windows = windowers[machine].add(*arrival)
            due += [(machine, window.end_ns, at, window.values) for window in windows]
    return late, [(m, end, at, values.tobytes()) for m, end, at, values in due]


def columns(rows: list[tuple[int, Arrival]]) -> tuple[Any, ...]:
    return (
        np.array([machine for machine, _ in rows], np.int64),
        np.array([arrival.channel for _, arrival in rows], np.int64),
        np.array([arrival.time_ns for _, arrival in rows], np.int64),
        np.array([arrival.value for _, arrival in rows], np.float32),
    )


def in_batches(
    rings: Rings, rows: list[tuple[int, Arrival]], cuts: list[int]
) -> tuple[list[bool], Found]:
    late, due = list[bool](), Found()
    for begin, end in itertools.pairwise(cuts):
        was_late, found = rings.add(*columns(rows[begin:end]))
        late += was_late.tolist()
        due += [
            (int(machine), int(end_ns), begin + int(trigger), values.tobytes())
            for machine, end_ns, trigger, values in zip(*found, strict=True)
        ]
    return late, due


@given(stories())
def test_batches_give_what_one_reading_after_the_other_gives(
    story: tuple[WindowSpec, list[tuple[int, Arrival]], list[int]],
) -> None:
    spec, rows, cuts = story
    assert in_batches(Rings(spec, MACHINES), rows, cuts) == one_by_one(spec, rows)


@given(stories())
def test_readings_that_may_end_no_window_can_wait_for_one_that_may(
    story: tuple[WindowSpec, list[tuple[int, Arrival]], list[int]],
) -> None:
    spec, rows, _ = story
    rings, begin, cuts = Rings(spec, MACHINES), 0, [0]
    for at, (machine, arrival) in enumerate(rows, start=1):
        if rings.may_be_due(np.array([machine]), np.array([arrival.time_ns])).item():
            _, due = rings.add(*columns(rows[begin:at]))
            assert set(due.trigger.tolist()) <= {at - 1 - begin}
            begin = at
            cuts.append(at)
    _, due = rings.add(*columns(rows[begin:]))
    assert not len(due.machine)
    assert in_batches(Rings(spec, MACHINES), rows, [*cuts, len(rows)]) == one_by_one(spec, rows)


def test_within_a_stride_nothing_may_be_due() -> None:
    spec = WindowSpec(("a",), period_ns=10, length=4, stride=2, lateness_ns=5)
    rings = Rings(spec, 2)
    rings.add(*columns([(0, Arrival(0, 100, 1.0)), (1, Arrival(0, 110, 1.0))]))
    machine, time_ns = np.array([0, 0, 0, 1, 1, 1]), np.array([84, 104, 105, 104, 124, 125])
    assert rings.may_be_due(machine, time_ns).tolist() == [False, False, True, False, False, True]


@given(stories(), st.data())
def test_a_ring_that_was_saved_goes_on_as_if_nothing_had_been(
    story: tuple[WindowSpec, list[tuple[int, Arrival]], list[int]], data: st.DataObject
) -> None:
    spec, rows, _ = story
    cut = data.draw(st.integers(0, len(rows)))
    whole, saved, restored = Rings(spec, MACHINES), Rings(spec, MACHINES), Rings(spec)
    in_batches(whole, rows, [0, cut])
    in_batches(saved, rows, [0, cut])
    for machine in range(MACHINES):
        restored.restore(machine, int(saved.newest_ns[machine]), saved.saved(machine))
    coming = rows[cut:]
    assert in_batches(restored, coming, [0, len(coming)]) == in_batches(
        whole, coming, [0, len(coming)]
    )


def test_rings_grow_and_keep_what_they_hold() -> None:
    spec = WindowSpec(("a",), period_ns=10, length=2, stride=2, min_fill=0.5)
    rings = Rings(spec, 1)
    rings.add(*columns([(0, Arrival(0, 10, 1.0)), (0, Arrival(0, 20, 2.0))]))
    rings.grow(5)
    assert rings.newest_ns[:2].tolist() == [20, NEVER]
    _, due = rings.add(*columns([(4, Arrival(0, 100, 9.0)), (0, Arrival(0, 40, 4.0))]))
    assert due.machine.tolist() == [0]
    assert np.array_equal(due.values[0, :, 0], [2.0, np.nan], equal_nan=True)


def test_a_ring_of_another_shape_is_refused() -> None:
    small, large = (
        Rings(WindowSpec(("a",), period_ns=10, length=length, stride=1), 1) for length in (2, 3)
    )
    with pytest.raises(ValueError, match="reshape"):
        large.restore(0, 10, small.saved(0))
